"""``knowedit inspect``: what an edit file holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

import knowedit
from knowedit.cli.options import Device, Dtype, Json
from knowedit.cli.output import console, print_json, print_warnings, progress, safe
from knowedit.cli.stack import print_report, stacked

if TYPE_CHECKING:
    from knowedit.editing import Edit, Prediction, StackReport
    from knowedit.facts import Fact


def inspect(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="EDIT...", help="Edit files; several are measured together, in the order of use."
        ),
    ],
    model: Annotated[
        str | None,
        typer.Option(
            "--model", "-m", help="Measure on this model; by default the one the edits were made for."
        ),
    ] = None,
    device: Device = "cpu",
    dtype: Dtype = "float32",
    as_json: Json = False,
) -> None:
    """Print what an edit file changes, where it comes from and how sound it is; of several, what they add up to."""
    from knowedit.editing import Edit

    edits = [Edit.load(file) for file in files]
    measure = model is not None or len(edits) > 1
    report = _measured(edits, model or edits[-1].provenance.model, device, dtype) if measure else None
    if as_json:
        stack = None if report is None else report.as_json()
        several = {"edits": [described(edit) for edit in edits], "stack": stack}
        print_json(described(edits[0]) if report is None else several)
        return
    for edit in edits:
        _print(edit)
    if report is not None:
        print_report(report)


def _measured(edits: Sequence[Edit], model: str, device: str, dtype: str) -> StackReport:
    from knowedit.editing import stack_report

    with progress(f"opening {model}"):
        lm = knowedit.load(model, device=device, dtype=dtype)
    with stacked(lm, edits, told=True), progress("measuring"):
        return stack_report(lm)


def _print(edit: Edit) -> None:
    found = described(edit)
    table = Table(box=None, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for fact in edit.provenance.facts:
        table.add_row("fact", f"{safe(fact.text)} … [bold]{safe(fact.target_new)}[/]")
    for row in _outcome_rows(edit):
        table.add_row(*map(safe, row))
    for update in found["updates"]:
        table.add_row("changes", safe(_change(update)))
    for below in found["on_top_of"]:
        table.add_row("on top of", f"the edit {below}")
    for name in ("digest", "editor", "model", "base", "seed"):
        table.add_row(name, safe(found[name]))
    for part in edit.provenance.parts:
        table.add_row("made of", f"the edit {part}")
    for group in ("settings", "diagnostics", "versions"):
        for key, value in found[group].items():
            if key not in ("parts", "compression"):
                shown = f"{value:.3g}" if isinstance(value, float) else safe(value)
                table.add_row(f"{group}.{key}", shown)
    console.print(table)
    print_warnings(found["warnings"])


def _outcome_rows(edit: Edit) -> list[tuple[str, str]]:
    """What the model predicted for each fact, before and with the edit."""
    if edit.outcome is None:
        return [("outcome", "not measured when the edit was made; --model measures it")]
    return [
        (f"outcome.{when}", f"predicts {one.text!r}{_chances(fact, one)}")
        for fact, *pair in zip(edit.provenance.facts, edit.outcome.before, edit.outcome.after, strict=True)
        for when, one in zip(("before", "after"), pair, strict=True)
    ]


def _chances(fact: Fact, found: Prediction) -> str:
    true = "" if found.true is None else f", P[{fact.target_true}] = {found.true:.1%}"
    return f", P[{fact.target_new}] = {found.new:.1%} (rank {found.rank}){true}"


def described(edit: Edit) -> dict[str, Any]:
    """What an edit is, as JSON."""
    from knowedit.editing import kind_of

    return {
        "facts": [asdict(fact) for fact in edit.provenance.facts],
        "updates": [
            {
                **address._asdict(),
                "kind": kind_of(update),
                "rank": update.rank,
                "shape": list(update.shape),
                "module": edit.places[address].module if address in edit.places else None,
                "compression_error": edit.diagnostics.compression.get(str(address)),
            }
            for address, update in edit.updates.items()
        ],
        "on_top_of": list(edit.provenance.on_top_of),
        "digest": edit.digest,
        "diagnostics": asdict(edit.diagnostics),
        "outcome": None if edit.outcome is None else edit.outcome.as_json(),
        "warnings": edit.warnings(),
        "editor": edit.provenance.editor,
        "settings": edit.provenance.settings,
        "model": edit.provenance.model,
        "base": edit.base.digest,
        "seed": edit.provenance.seed,
        "versions": edit.provenance.versions,
    }


def _change(update: dict[str, Any]) -> str:
    tensor = " bias" if update["tensor"] == "bias" else ""
    kind = "dense" if update["kind"] == "dense" else f"rank {update['rank']}"
    lost = update["compression_error"]
    cut = "" if lost is None else f", cut from a higher rank with an error of {lost:.2%} (Frobenius)"
    return f"layer {update['layer']} {update['part']}{tensor}, {kind} of {update['shape']}{cut}"
