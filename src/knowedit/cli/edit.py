"""``knowedit edit``: compute an edit and write it to a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import knowedit
from knowedit.cli.choices import chosen_editor
from knowedit.cli.inspect import described
from knowedit.cli.options import (
    DEFAULT_MODEL,
    Bound,
    Device,
    Dtype,
    Edits,
    Force,
    Json,
    Layer,
    LearningRate,
    Method,
    Model,
    Out,
    Profile,
    Seed,
    Set,
    Statistics,
)
from knowedit.cli.output import check_outputs, console, print_json, print_warnings, progress, safe
from knowedit.cli.stack import print_report, stacked
from knowedit.facts import Fact, template_of

if TYPE_CHECKING:
    from knowedit.editing import Edit, Outcome, StackReport
    from knowedit.models import LanguageModel


def edit(
    subject: Annotated[str, typer.Option(help="The entity the fact is about.")],
    prompt: Annotated[str, typer.Option(help="The statement up to the object, with {} for the subject.")],
    target_new: Annotated[str, typer.Option(help="The object that the model should predict.")],
    out: Out,
    model: Model = DEFAULT_MODEL,
    device: Device = "cpu",
    dtype: Dtype = "float32",
    method: Method = "rome",
    profile: Profile = None,
    layer: Layer = None,
    bound: Bound = None,
    learning_rate: LearningRate = None,
    statistics: Statistics = None,
    settings: Set = None,
    edits: Edits = None,
    seed: Seed = 0,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Compute the edit, write it, and print what it does; exit code 1 if it did not take."""
    import torch

    from knowedit.editing import Edit, prepared

    fact = Fact(subject, template_of(prompt, subject), target_new)
    check_outputs(force=force, inputs=[*(edits or ()), statistics], out=out)
    editor = chosen_editor(
        method,
        profile,
        settings,
        layer=layer,
        bound=bound,
        learning_rate=learning_rate,
        statistics=statistics,
    )
    below = [Edit.load(file) for file in edits or ()]
    with progress(f"opening {model}"):
        lm = knowedit.load(model, device=device, dtype=dtype)
    with progress("preparing the editor"):
        # Statistics are of the model's own weights, so they are read before anything is applied.
        editor = prepared(editor, lm)
    with stacked(lm, below, told=True), progress("editing"):
        found = editor.edit(lm, [fact], generator=torch.Generator().manual_seed(seed))
        outcome = found.outcome or found.measured(lm)
        report = _report(lm, found, editor) if below else None
    found.save(out, force=force)
    if as_json:
        stack = {} if report is None else {"stack": report.as_json()}
        written = {"file": str(out), "bytes": out.stat().st_size}
        print_json({**described(found), **_answers(outcome), **stack, **written})
    else:
        _print(found, outcome, out, report)
    if not outcome.took:
        raise typer.Exit(1)


def _answers(outcome: Outcome) -> dict[str, Any]:
    """What is predicted after the fact's prompt, and P[target], before and after."""
    pairs = {"before": outcome.before[0], "after": outcome.after[0]}
    return {name: {"predicts": one.text, "target_new": one.new} for name, one in pairs.items()}


def _report(lm: LanguageModel, edit: Edit, editor: Any) -> StackReport:
    """What the edit and those below it add up to."""
    from knowedit.editing import stack_report

    statistics = getattr(editor, "statistics", None)
    with edit.applied(lm):
        return stack_report(lm, statistics=None if statistics is None else {editor.layer: statistics})


def _print(edit: Edit, outcome: Outcome, out: Path, report: StackReport | None) -> None:
    (fact,) = edit.provenance.facts
    console.print(f"[bold]{safe(fact.text)}[/] … {safe(fact.target_new)}")
    for name, answer in _answers(outcome).items():
        shown = f"predicts {answer['predicts']!r}, P[{fact.target_new}] = {answer['target_new']:.1%}"
        console.print(f"  {name:6}  {safe(shown)}")
    print_warnings(edit.warnings())
    if report is not None:
        print_report(report)
    size = out.stat().st_size / 1024
    console.print(f"written to {safe(out)} ({size:.0f} KiB); the model itself was not changed")
