"""``knowedit edit``: compute an edit and write it to a file."""

from __future__ import annotations

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
    Method,
    Model,
    Out,
    Profile,
    Seed,
    Set,
    Statistics,
)
from knowedit.cli.output import check_outputs, console, print_json, progress, safe
from knowedit.cli.stack import stacked
from knowedit.facts import Fact, template_of

if TYPE_CHECKING:
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
    statistics: Statistics = None,
    settings: Set = None,
    edits: Edits = None,
    seed: Seed = 0,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Compute the edit, write it, and print what it does."""
    import torch

    from knowedit.editing import Edit, prepared

    fact = Fact(subject, template_of(prompt, subject), target_new)
    check_outputs(force=force, inputs=[*(edits or ()), statistics], out=out)
    editor = chosen_editor(method, profile, settings, layer=layer, bound=bound, statistics=statistics)
    below = [Edit.load(file) for file in edits or ()]
    with progress(f"opening {model}"):
        lm = knowedit.load(model, device=device, dtype=dtype)
    with progress("preparing the editor"):
        # Statistics are of the model's own weights, so they are read before anything is applied.
        editor = prepared(editor, lm)
    with stacked(lm, below):
        with progress("editing"):
            found = editor.edit(lm, [fact], generator=torch.Generator().manual_seed(seed))
        before = _answer(lm, fact)
        with found.applied(lm):
            after = _answer(lm, fact)
    found.save(out, force=force)
    size = out.stat().st_size
    if as_json:
        print_json({**described(found), "before": before, "after": after, "file": str(out), "bytes": size})
        return
    console.print(f"[bold]{safe(fact.text)}[/] … {safe(fact.target_new)}")
    for name, answer in (("before", before), ("after", after)):
        shown = f"predicts {answer['predicts']!r}, P[{fact.target_new}] = {answer['target_new']:.1%}"
        console.print(f"  {name:6}  {safe(shown)}")
    if after["target_new"] < 0.5:
        console.print("[yellow]warning:[/] the edited model does not predict the new object")
    for warning in found.diagnostics.warnings():
        console.print(f"[yellow]warning:[/] {safe(warning)}")
    console.print(f"written to {safe(out)} ({size / 1024:.0f} KiB); the model itself was not changed")


def _answer(lm: LanguageModel, fact: Fact) -> dict[str, Any]:
    """The most probable next token after the fact's prompt, and P[target]."""
    from knowedit.models import next_token_probabilities, target_token_log_probabilities

    best = next_token_probabilities(lm, [fact.text])[0].argmax()
    (logs,) = target_token_log_probabilities(lm, [(fact.text, fact.target_new)])
    predicts = str(lm.tokenizer.decode([int(best)])).strip()
    return {"predicts": predicts, "target_new": float(logs.sum().exp())}
