"""``knowedit trace``: where a fact is, as numbers in the terminal, a data file and a picture."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import typer
from rich.markup import escape

from knowedit.cli.heat import best_cells, heat_table, total
from knowedit.cli.noise import chosen_noise
from knowedit.cli.options import DEFAULT_MODEL, Json, Model, Seed
from knowedit.cli.output import console, print_json, stderr
from knowedit.cli.stack import load_edits, stacked
from knowedit.cli.windows import parse_window
from knowedit.errors import InputError
from knowedit.models import LanguageModel, fingerprint, load
from knowedit.tracing import (
    Corruption,
    Part,
    Severed,
    Substitution,
    Trace,
    TraceSettings,
    UnpredictedAnswer,
    Window,
    causal_trace,
)

DATA = ".safetensors"
PARTS: tuple[Part, ...] = get_args(Part)


@dataclass(frozen=True)
class TraceRequest:
    """The options of ``knowedit trace``.

    Attributes:
        part: a part, or ``all``.
        window: as typed, or None.
        edits: edit files that are applied first.
        out: data and pictures to write.
    """

    model: str
    prompt: str
    subject: str
    answer: str | None
    part: str
    window: str | None
    sever: Severed | None
    noise: float | None
    relative_noise: float | None
    substitute: str | None
    draws: int | None
    seed: int
    edits: tuple[Path, ...]
    out: tuple[Path, ...]
    force: bool

    @property
    def parts(self) -> list[Part]:
        """The parts that are traced."""
        return [part for part in PARTS if self.part in (part, "all")]

    def corruption(self) -> Corruption:
        """The one corruption that was asked for.

        Raises:
            InputError: two of them, or ν <= 0.
        """
        given = (self.noise, self.relative_noise, self.substitute)
        if sum(value is not None for value in given) > 1:
            raise InputError("give only one of --noise, --relative-noise and --substitute")
        if self.substitute is not None:
            return Substitution(self.substitute)
        return chosen_noise(self.noise, self.relative_noise)

    def window_for(self, part: Part, n_layers: int) -> Window:
        """The window of one part: with ``all``, the paper's single states and windows of sublayers."""
        if self.part == "all" and part == "hidden":
            return Window()
        typed = ("depth" if self.part == "all" else "1") if self.window is None else self.window
        return parse_window(typed, n_layers).check(n_layers)

    def data_files(self, path: Path) -> list[Path]:
        """The files of one ``--out`` for data: one for each part."""
        if self.part != "all":
            return [path]
        return [path.with_name(f"{path.stem}-{part}{path.suffix}") for part in self.parts]

    def check_out(self) -> None:
        """Refuse before any work what could not, or should not, be written.

        Raises:
            InputError: an unknown suffix, no such folder, or a file that exists.
        """
        from knowedit.tracing.figures import SUFFIXES

        for path in self.out:
            if path.suffix.lower() not in (DATA, *SUFFIXES):
                raise InputError(
                    f"{path} ends with {path.suffix!r}, expected {DATA} for data or {', '.join(SUFFIXES)} "
                    "for a picture: change its name"
                )
            if not path.parent.is_dir():
                raise InputError(f"the folder {path.parent} does not exist: create it, or give another --out")
            files = self.data_files(path) if path.suffix.lower() == DATA else [path]
            for file in files:
                if file.is_dir() or (file.exists() and not self.force):
                    raise InputError(f"{file} exists already: give another --out, or --force to replace it")


def run_trace(request: TraceRequest, *, as_json: bool) -> None:
    """Trace, write what was asked for, and print the numbers."""
    request.check_out()
    corruption = request.corruption()
    edits = load_edits(request.edits)
    with stderr.status("loading the model"):
        lm = load(request.model)
    with stacked(lm, edits), warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always", UnpredictedAnswer)
        traces = _traces(request, lm, corruption)
    _tell(heard)
    written = _write(request, traces)
    if as_json:
        found = [as_dict(trace) for trace in traces]
        print_json(
            {"traces": found, "edits": list(map(str, request.edits)), "written": list(map(str, written))}
        )
        return
    _print(traces)
    for path in written:
        console.print(f"written to {escape(str(path))}", soft_wrap=True)


def _traces(request: TraceRequest, lm: LanguageModel, corruption: Corruption) -> list[Trace]:
    """One trace for each part, all with the same noise."""
    windows = {part: request.window_for(part, lm.n_layers) for part in request.parts}
    digest = fingerprint(lm, with_edits=True).digest
    found = []
    for part, window in windows.items():
        with stderr.status(f"tracing: {part}"):
            found.append(
                causal_trace(
                    lm,
                    request.prompt,
                    request.subject,
                    answer=request.answer,
                    settings=TraceSettings(part, window, request.sever, corruption, request.draws),
                    seed=request.seed,
                    digest=digest,
                )
            )
    return found


def _tell(heard: list[warnings.WarningMessage]) -> None:
    for text in dict.fromkeys(str(warning.message) for warning in heard):
        stderr.print(f"[yellow]warning:[/] {escape(' '.join(text.split()))}")


def _write(request: TraceRequest, traces: list[Trace]) -> list[Path]:
    from knowedit.tracing.figures import heat_map, save

    written: list[Path] = []
    for path in request.out:
        if path.suffix.lower() == DATA:
            files = request.data_files(path)
            for trace, file in zip(traces, files, strict=True):
                trace.save(file)
            written += files
        else:
            save(heat_map(*traces), path)
            written.append(path)
    return written


def _print(traces: list[Trace]) -> None:
    first = traces[0]
    console.print(f"[bold]{escape(first.text)}[/] … {escape(first.answer.strip())}", soft_wrap=True)
    console.print(total(first))
    for trace in traces:
        console.print()
        for line in heat_table(trace, console.width):
            console.print(line, no_wrap=True)
        for line in best_cells(trace):
            console.print(line)


def as_dict(trace: Trace) -> dict[str, Any]:
    """A trace as JSON, without the single draws."""
    return {
        "model": trace.provenance.model,
        "digest": trace.provenance.digest,
        "text": trace.text,
        "answer": trace.answer,
        "predicted": trace.predicted,
        "tokens": list(trace.tokens),
        "roles": [role.value for role in trace.roles],
        "subject": list(trace.subject),
        **trace.settings.to_json(),
        "seed": trace.provenance.seed,
        "clean": trace.clean,
        "corrupted": trace.corrupted,
        "total_effect": trace.total_effect,
        "restored": trace.restored.tolist(),
    }


def trace(
    prompt: Annotated[str, typer.Argument(help="The text up to the answer, with {} for the subject.")],
    subject: Annotated[str, typer.Option(help="Whose tokens are corrupted.")],
    model: Model = DEFAULT_MODEL,
    answer: Annotated[str | None, typer.Option(help="The object; by default what the model says.")] = None,
    part: Annotated[
        Literal["hidden", "mlp", "attention", "all"], typer.Option(help="What is restored.")
    ] = "hidden",
    window: Annotated[
        str | None,
        typer.Option(
            help="Layers restored together: paper, released, depth, a number, or A,B for A below and B above. "
            "By default one; with --part all, depth for MLP and attention."
        ),
    ] = None,
    sever: Annotated[
        Literal["mlp", "attention"] | None,
        typer.Option(help="Hold this part corrupted at the last subject token."),
    ] = None,
    noise: Annotated[float | None, typer.Option(help="Standard deviation of the noise, ν.")] = None,
    relative_noise: Annotated[
        float | None, typer.Option(help="ν as a multiple of the subject embeddings' deviation; by default 3.")
    ] = None,
    substitute: Annotated[
        str | None, typer.Option(help="Corrupt by this subject, of as many tokens, instead of by noise.")
    ] = None,
    draws: Annotated[int | None, typer.Option(min=1, help="Noise samples; by default 10.")] = None,
    seed: Seed = 0,
    edit: Annotated[
        list[Path] | None, typer.Option(help="An edit file to apply first; may be given several times.")
    ] = None,
    out: Annotated[
        list[Path] | None,
        typer.Option(help="Data (.safetensors) or a picture (.png, .svg, .pdf); may be given several times."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that exist.")] = False,
    as_json: Json = False,
) -> None:
    """Find where a fact is: corrupt the subject, restore one part at a time, and see what brings the answer back."""
    request = TraceRequest(
        model=model,
        prompt=prompt,
        subject=subject,
        answer=answer,
        part=part,
        window=window,
        sever=sever,
        noise=noise,
        relative_noise=relative_noise,
        substitute=substitute,
        draws=draws,
        seed=seed,
        edits=tuple(edit or ()),
        out=tuple(out or ()),
        force=force,
    )
    run_trace(request, as_json=as_json)
