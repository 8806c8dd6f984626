"""``knowedit edit`` and ``knowedit inspect``: make an edit file, and read one."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.markup import escape
from rich.table import Table

from knowedit.cli.options import DEFAULT_MODEL, Json, Model, Seed
from knowedit.cli.output import console, percent, print_json, stderr
from knowedit.cli.stack import load_edits, stacked
from knowedit.editing import (
    DENSE,
    Edit,
    Editor,
    kind_of,
    make_editor,
    prepared,
)
from knowedit.errors import InputError
from knowedit.facts import Fact, template_of
from knowedit.models import LanguageModel, load, next_token_probabilities, target_token_log_probabilities


@dataclass(frozen=True)
class EditRequest:
    """The options of ``knowedit edit``.

    Attributes:
        stack: the edit files that are applied first.
        profile: the name of ROME's settings; by default the paper's.
        statistics: a file of key statistics; by default those of the model's folder.
        bound: ε of FT+L and AttnEdit, if not the known one.
    """

    model: str
    subject: str
    prompt: str
    target_new: str
    layer: int | None
    seed: int
    out: Path
    force: bool
    stack: tuple[Path, ...] = ()
    profile: str | None = None
    statistics: Path | None = None
    method: str = "rome"
    bound: float | None = None

    def editor(self) -> Editor:
        """The editor with its settings.

        Raises:
            InputError: no such method or profile, or an option that the method does not have.
        """
        options = {"layer": self.layer, "bound": self.bound, "statistics": self.statistics}
        given = {name: value for name, value in options.items() if value is not None}
        return make_editor(self.method, profile=self.profile, **given)

    def check_out(self) -> None:
        """Refuse before any work a file that could not, or should not, be written.

        Raises:
            InputError: no such folder, or the file exists.
        """
        if not self.out.parent.is_dir():
            raise InputError(f"the folder {self.out.parent} does not exist: create it, or give another --out")
        if self.out.is_dir() or (self.out.exists() and not self.force):
            raise InputError(f"{self.out} exists already: give another --out, or --force to replace the file")


def answer(lm: LanguageModel, fact: Fact) -> dict[str, Any]:
    """The most probable next token after the fact's prompt, and P[target]."""
    best = next_token_probabilities(lm, [fact.text])[0].argmax()
    says = str(lm.tokenizer.decode([int(best)])).strip()
    (logs,) = target_token_log_probabilities(lm, [(fact.text, fact.target_new)])
    return {"says": says, "target_new": float(logs.sum().exp())}


def run_edit(request: EditRequest, *, as_json: bool) -> None:
    """Compute the edit, write it, and say what it does."""
    fact = Fact(request.subject, template_of(request.prompt, request.subject), request.target_new)
    request.check_out()
    editor = request.editor()
    below = load_edits(request.stack)
    lm = load(request.model)
    generator = torch.Generator().manual_seed(request.seed)
    # What an editor looks up is of the model's own weights, so it is prepared before anything is applied.
    with stderr.status("preparing (key statistics are kept for the next time by knowedit stats --install)"):
        editor = prepared(editor, lm)
    with stacked(lm, below):
        with stderr.status("searching"):
            edit = editor.edit(lm, [fact], generator=generator)
        before = answer(lm, fact)
        with edit.applied(lm):
            after = answer(lm, fact)
    edit.save(request.out)
    size = request.out.stat().st_size
    if as_json:
        print_json(
            {**summary(edit), "before": before, "after": after, "file": str(request.out), "bytes": size}
        )
        return
    console.print(f"[bold]{escape(fact.text)}[/] … {escape(fact.target_new)}")
    for name, found in (("before", before), ("after", after)):
        said = f"says {found['says']!r}, P[{fact.target_new}] = {percent(found['target_new'])}"
        console.print(f"  {name:6}  {escape(said)}")
    if after["target_new"] < 0.5:
        console.print("[yellow]look into this:[/] the edited model does not say the new object")
    _print_concerns(edit)
    console.print(
        f"written to {escape(str(request.out))} ({size / 1024:.0f} KiB); the model itself was not changed"
    )


def summary(edit: Edit) -> dict[str, Any]:
    """What an edit is, as JSON."""
    return {
        "facts": [asdict(fact) for fact in edit.provenance.facts],
        "updates": [
            {
                **address._asdict(),
                "kind": kind_of(update),
                "rank": update.rank,
                "shape": list(update.shape),
                "module": edit.places[address].module if address in edit.places else None,
                "compression_error": edit.preflight.compression.get(str(address)),
            }
            for address, update in edit.updates.items()
        ],
        "on_top_of": list(edit.provenance.on_top_of),
        "digest": edit.digest,
        "preflight": asdict(edit.preflight),
        "concerns": edit.preflight.concerns(),
        "editor": edit.provenance.editor,
        "settings": edit.provenance.settings,
        "model": edit.provenance.model,
        "base": edit.base.digest,
        "seed": edit.provenance.seed,
        "versions": edit.provenance.versions,
    }


def inspect_edit(file: Path, *, as_json: bool) -> None:
    """Print what an edit file holds."""
    edit = Edit.load(file)
    described = summary(edit)
    if as_json:
        print_json(described)
        return
    table = Table(box=None, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for fact in edit.provenance.facts:
        table.add_row("fact", f"{escape(fact.text)} … [bold]{escape(fact.target_new)}[/]")
    for update in described["updates"]:
        table.add_row("changes", escape(_change(update)))
    for below in described["on_top_of"]:
        table.add_row("on top of", f"the edit {below}")
    for name in ("digest", "editor", "model", "base", "seed"):
        table.add_row(name, escape(str(described[name])))
    for part in edit.provenance.parts:
        table.add_row("made of", f"the edit {part}")
    for group in ("settings", "preflight", "versions"):
        for key, value in described[group].items():
            if key not in ("parts", "compression"):
                table.add_row(
                    f"{group}.{key}", f"{value:.3g}" if isinstance(value, float) else escape(str(value))
                )
    console.print(table)
    _print_concerns(edit)


def _change(update: dict[str, Any]) -> str:
    tensor = " bias" if update["tensor"] == "bias" else ""
    kind = "dense" if update["kind"] == DENSE else f"rank {update['rank']}"
    lost = update["compression_error"]
    cut = "" if lost is None else f", cut from a higher rank with an error of {lost:.2%} (Frobenius)"
    return f"layer {update['layer']} {update['part']}{tensor}, {kind} of {update['shape']}{cut}"


def _print_concerns(edit: Edit) -> None:
    for concern in edit.preflight.concerns():
        console.print(f"[yellow]look into this:[/] {concern}")


def edit(
    subject: Annotated[str, typer.Option(help="The entity the fact is about.")],
    prompt: Annotated[str, typer.Option(help="The statement up to the object, with {} for the subject.")],
    target_new: Annotated[str, typer.Option(help="The object the model shall name from now on.")],
    out: Annotated[Path, typer.Option(help="The edit file to write.")],
    model: Model = DEFAULT_MODEL,
    layer: Annotated[int | None, typer.Option(help="The layer to edit; by default the model's own.")] = None,
    method: Annotated[
        str, typer.Option(help="rome, or fine-tuning of one layer: ft, ft+l, attn-edit.")
    ] = "rome",
    profile: Annotated[
        str | None,
        typer.Option(help="The settings of ROME, by default paper; `knowedit profiles` lists them."),
    ] = None,
    statistics: Annotated[
        Path | None, typer.Option(help="A file that `knowedit stats` wrote; by default the model's own.")
    ] = None,
    bound: Annotated[
        float | None, typer.Option(help="ε of ft+l and attn-edit, if not the known one.")
    ] = None,
    stack: Annotated[
        list[Path] | None,
        typer.Option(
            help="An edit file to apply first; may be given several times. The new edit builds on it."
        ),
    ] = None,
    seed: Seed = 0,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
    as_json: Json = False,
) -> None:
    """Compute an edit and write it to a small file; the model itself is not changed."""
    request = EditRequest(
        model=model,
        subject=subject,
        prompt=prompt,
        target_new=target_new,
        layer=layer,
        seed=seed,
        out=out,
        force=force,
        stack=tuple(stack or ()),
        profile=profile,
        statistics=statistics,
        method=method,
        bound=bound,
    )
    run_edit(request, as_json=as_json)
