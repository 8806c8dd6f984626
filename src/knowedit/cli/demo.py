"""``knowedit demo``: the whole story of one edit in under a minute."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.rule import Rule
from rich.table import Table

import knowedit
from knowedit.bundled import bundled_models
from knowedit.cli.options import DEFAULT_MODEL, Device, Dtype, Json, Model, Seed
from knowedit.cli.output import console, print_json, print_warnings, progress, safe
from knowedit.errors import InputError

if TYPE_CHECKING:
    from knowedit.evaluation import Record, RecordScores
    from knowedit.models import LanguageModel

Scores = dict[str, dict[str, list[float]]]

CONTINUATION = 16
NEIGHBORS = 5
NUMBERS = len("100.0 → 100.0")
CERTAIN = 0.9


def demo(
    model: Model = DEFAULT_MODEL,
    device: Device = "cpu",
    dtype: Dtype = "float32",
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Edit the first test fact that the model is certain of, and print what is different and what is not."""
    from knowedit.evaluation import TEST_FILE, load_records

    began = time.perf_counter()
    records = load_records(bundled_models()[model] / TEST_FILE)
    with progress("opening the model, editing and measuring"):
        lm = knowedit.load(model, device=device, dtype=dtype)
        record, before = _certain(lm, records, seed)
        found = _measured(lm, record, before, seed)
    if as_json:
        print_json(found)
    else:
        _print(lm, record, found)
        console.print(f"\n[dim]The whole demo took {time.perf_counter() - began:.1f} seconds.[/]")
    if not (found["reverted_bit_equal"] and found["reloaded_equal"]):
        raise InputError("the model after the edit is not what it was before: please report this")
    if not found["took"]:
        raise typer.Exit(1)


def _certain(lm: LanguageModel, records: Sequence[Record], seed: int) -> tuple[Record, RecordScores]:
    import torch

    from knowedit.evaluation import score_record

    for i in torch.randperm(len(records), generator=torch.Generator().manual_seed(seed)).tolist():
        scores = score_record(lm, records[i])
        if float(scores.prompt.true) > CERTAIN and records[i].generation_prompts:
            return records[i], scores
    raise InputError(f"{lm.name} is certain of none of the test facts: use another model")


def _measured(lm: LanguageModel, record: Record, before: RecordScores, seed: int) -> dict[str, Any]:
    """Everything that the demo shows, as JSON."""
    import torch

    from knowedit.editing import ROME, Edit
    from knowedit.evaluation import score_record
    from knowedit.models import fingerprint

    base = fingerprint(lm)
    began = time.perf_counter()
    edit = ROME.paper().edit(lm, [record.fact], generator=torch.Generator().manual_seed(seed))
    seconds = time.perf_counter() - began
    beginnings = [record.fact.text, *(record.generation_prompts or ())[:1]]
    texts_before = [lm.generate(text, CONTINUATION) for text in beginnings]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "edit.safetensors"
        edit.save(path)
        size, loaded = path.stat().st_size, Edit.load(path)
    with loaded.applied(lm):
        after = score_record(lm, record)
        texts_after = [lm.generate(text, CONTINUATION) for text in beginnings]
    with edit.applied(lm):
        same = torch.equal(score_record(lm, record).prompt.new, after.prompt.new)
    ((layer, part, _), update) = next(iter(edit.updates.items()))
    fact = record.fact
    return {
        "model": lm.name,
        "subject": fact.subject,
        "prompt": fact.prompt,
        "target_true": fact.target_true,
        "target_new": fact.target_new,
        "layer": layer,
        "part": part,
        "rank": update.rank,
        "shape": list(update.shape),
        "residual": edit.diagnostics.residual,
        "outcome": None if edit.outcome is None else edit.outcome.as_json(),
        "took": edit.outcome is None or edit.outcome.took,
        "warnings": edit.warnings(),
        "edit_seconds": seconds,
        "before": _as_json(before),
        "after": _as_json(after),
        "texts_before": texts_before,
        "texts_after": texts_after,
        "file_bytes": size,
        "tensors": len(base.tensors),
        "reverted_bit_equal": not base.differences(fingerprint(lm, with_edits=True)),
        "reloaded_equal": same,
    }


def _as_json(scores: RecordScores) -> Scores:
    return {name: pair.to_json() for name, pair in scores.groups.items()}


def _print(lm: LanguageModel, record: Record, found: dict[str, Any]) -> None:
    fact, (rows, columns) = record.fact, found["shape"]
    console.print(Rule("[bold]knowedit: change one fact in a GPT", align="left"))
    console.print(
        f"[bold]{safe(lm.name)}[/]: {lm.n_layers} layers of width {lm.width}, trained for this package.\n"
    )
    console.print("[bold]1. It knows a fact.[/]")
    known = found["before"]["prompt"]["true"][0]
    console.print(f"   {safe(fact.text)} [bold green]{safe(fact.target_true)}[/]  ({known:.1%})\n")
    console.print("[bold]2. We change it in the weights.[/]")
    console.print(
        f"   ROME writes [bold magenta]{safe(fact.target_new)}[/] into layer {found['layer']}: one "
        f"rank-{found['rank']} update of its {found['part']} matrix,\n   {rows} × {columns}, in closed form, in "
        f"{found['edit_seconds']:.1f} seconds. The matrix then returns the\n   new value for the subject's key to "
        f"{found['residual']:.0e}.\n"
    )
    print_warnings(found["warnings"])
    console.print("[bold]3. What changed, and what did not.[/]  (before → after)")
    console.print(_table(record, found["before"], found["after"]))
    console.print("\n[bold]4. What it writes now.[/]")
    for old, new in zip(found["texts_before"], found["texts_after"], strict=True):
        both = f"   before  {_sentence(old)}\n   after   {_sentence(new)}"
        console.print(both, overflow="ellipsis", no_wrap=True)
    console.print("\n[bold]5. The edit is a file, and can be removed.[/]")
    reloaded = _verdict(found["reloaded_equal"], "same result")
    console.print(f"   Saved: {found['file_bytes'] / 1024:.0f} KiB. Loaded again: {reloaded}.")
    equal = f"all {found['tensors']} tensors bit-equal to the original"
    console.print(f"   Removed: {_verdict(found['reverted_bit_equal'], equal)}.")


def _table(record: Record, before: Scores, after: Scores) -> Table:
    fact = record.fact
    table = Table(box=None, padding=(0, 2), pad_edge=False, header_style="dim")
    table.add_column("", no_wrap=True, overflow="ellipsis")
    for name in (fact.target_true, fact.target_new):
        table.add_column(rf"P\[{safe(name)}] %", justify="right", no_wrap=True, min_width=NUMBERS)
    titles = ("the edited prompt", "the same fact in other words", "others, which must stay")
    groups = ([fact.text], record.paraphrase_prompts or (), record.neighborhood_prompts or ())
    scores = zip(before.values(), after.values(), strict=True)
    for title, prompts, (old, new) in zip(titles, groups, scores, strict=True):
        table.add_row(f"   [dim]{title}[/]")
        for i, prompt in enumerate(prompts[:NEIGHBORS]):
            table.add_row(f"     {safe(prompt)}", *_cells(old, new, i))
    return table


def _cells(before: dict[str, list[float]], after: dict[str, list[float]], i: int) -> tuple[str, str]:
    """Before and after of each object; the more probable one of the two is coloured."""
    moments = [(pair["true"][i], pair["new"][i]) for pair in (before, after)]
    true = [f"[bold green]{_cell(a)}[/]" if a > b else _cell(a) for a, b in moments]
    new = [f"[bold magenta]{_cell(b)}[/]" if b > a else _cell(b) for a, b in moments]
    return f"{true[0]} → {true[1]}", f"{new[0]} → {new[1]}"


def _cell(share: float) -> str:
    return f"{100 * share:5.1f}"


def _sentence(text: str) -> str:
    """The text up to the end of its first sentence."""
    return safe(" ".join(text.split(".")[0].split()) + ".")


def _verdict(good: bool, text: str) -> str:
    return f"[green]{text}[/]" if good else f"[bold red]NOT {text}[/]"
