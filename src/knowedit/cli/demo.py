"""``knowedit demo``: the whole story of one edit in under a minute."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.rule import Rule
from rich.table import Table

from knowedit.cli.listing import bundled_folder
from knowedit.cli.output import console, percent, print_json, stderr
from knowedit.editing import ROME, Edit
from knowedit.errors import InputError
from knowedit.evaluation import TEST_FILE, Pair, Record, RecordScores, load_records, score_record
from knowedit.facts import Fact
from knowedit.models import LanguageModel, fingerprint, load

CONTINUATION = 16
NEIGHBOURS = 5
NUMBERS = len("100.0 → 100.0")
CERTAIN = 0.9


@dataclass(frozen=True, eq=False)
class Story:
    """Everything the demo measured."""

    lm: LanguageModel
    record: Record
    edit: Edit
    seconds: float
    before: RecordScores
    after: RecordScores
    texts_before: list[str]
    texts_after: list[str]
    file_bytes: int
    reverted: bool
    reloaded: bool

    @property
    def fact(self) -> Fact:
        """The fact that was changed."""
        return self.record.fact


def run_demo(model: str, seed: int, *, as_json: bool) -> None:
    """Tell the story of one edit."""
    began = time.perf_counter()
    folder = bundled_folder(model)
    with stderr.status("loading, editing and measuring"):
        story = tell(load(model), load_records(folder / TEST_FILE), seed)
    if as_json:
        print_json(as_dict(story))
    else:
        _print(story)
        console.print(f"\n[dim]The whole demo took {time.perf_counter() - began:.1f} seconds.[/]")
    if not (story.reverted and story.reloaded):
        raise InputError("the model after the edit is not what it was before: please report this")


def tell(lm: LanguageModel, records: list[Record], seed: int) -> Story:
    """Edit the first test fact that the model is certain of, and measure before, during and after."""
    record, before = next(_certain(lm, records, seed))
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
    return Story(
        lm=lm,
        record=record,
        edit=edit,
        seconds=seconds,
        before=before,
        after=after,
        texts_before=texts_before,
        texts_after=texts_after,
        file_bytes=size,
        reverted=not base.differences(fingerprint(lm, with_edits=True)),
        reloaded=same,
    )


def _certain(lm: LanguageModel, records: list[Record], seed: int) -> Iterator[tuple[Record, RecordScores]]:
    start = torch.Generator().manual_seed(seed)
    for i in torch.randperm(len(records), generator=start).tolist():
        scores = score_record(lm, records[i])
        if float(scores.prompt.true) > CERTAIN and records[i].generation_prompts:
            yield records[i], scores
    raise InputError(f"{lm.name} is certain of none of the test facts: use another model")


def _print(story: Story) -> None:
    fact, lm = story.fact, story.lm
    console.print(Rule("[bold]knowedit: change one fact in a GPT", align="left"))
    console.print(f"[bold]{lm.name}[/]: {lm.n_layers} layers of width {lm.width}, grown for this package.\n")
    console.print("[bold]1. It knows a fact.[/]")
    console.print(
        f"   {fact.text} [bold green]{fact.target_true}[/]  ({percent(float(story.before.prompt.true))})\n"
    )
    console.print("[bold]2. We change it in the weights.[/]")
    ((layer, part, _), update), flight = next(iter(story.edit.updates.items())), story.edit.preflight
    console.print(
        f"   ROME writes [bold magenta]{fact.target_new}[/] into layer {layer}: one rank-{update.rank} update of its "
        f"{part} matrix,\n   {update.shape[0]} × {update.shape[1]}, in closed form, in {story.seconds:.1f} seconds. "
        f"The matrix then returns the\n   new value for the subject's key to {flight.residual:.0e}.\n"
    )
    console.print("[bold]3. What changed, and what did not.[/]  (before → after)")
    console.print(_table(story))
    console.print("\n[bold]4. What it writes now.[/]")
    for old, new in zip(story.texts_before, story.texts_after, strict=True):
        console.print(
            f"   before  {_sentence(old)}\n   after   {_sentence(new)}", overflow="ellipsis", no_wrap=True
        )
    console.print("\n[bold]5. The edit is a file, and can be taken back.[/]")
    console.print(
        f"   Saved: {story.file_bytes / 1024:.0f} KiB. Loaded again: {_verdict(story.reloaded, 'same result')}."
    )
    tensors = len(story.edit.base.tensors)
    console.print(
        f"   Taken back: {_verdict(story.reverted, f'all {tensors} tensors bit-equal to the original')}."
    )


def _table(story: Story) -> Table:
    table = Table(box=None, padding=(0, 2), pad_edge=False, header_style="dim")
    table.add_column("", no_wrap=True, overflow="ellipsis")
    for name in (story.fact.target_true, story.fact.target_new):
        table.add_column(rf"P\[{name}] %", justify="right", no_wrap=True, min_width=NUMBERS)
    before, after = story.before, story.after
    groups = [
        ("the edited prompt", [story.fact.text], before.prompt, after.prompt),
        (
            "the same fact, said otherwise",
            story.record.paraphrase_prompts or (),
            before.paraphrases,
            after.paraphrases,
        ),
        (
            "others, which must stay",
            story.record.neighborhood_prompts or (),
            before.neighborhood,
            after.neighborhood,
        ),
    ]
    for title, prompts, old, new in groups:
        table.add_row(f"   [dim]{title}[/]")
        for i, prompt in enumerate(prompts[:NEIGHBOURS]):
            table.add_row(f"     {prompt}", *_cells(old, new, i))
    return table


def _cells(before: Pair | None, after: Pair | None, i: int) -> tuple[str, str]:
    """Before and after of each object; the more probable one of the two is coloured."""
    if before is None or after is None:
        return "", ""
    moments = [(float(pair.true[i]), float(pair.new[i])) for pair in (before, after)]
    true = [f"[bold green]{_cell(a)}[/]" if a > b else _cell(a) for a, b in moments]
    new = [f"[bold magenta]{_cell(b)}[/]" if b > a else _cell(b) for a, b in moments]
    return f"{true[0]} → {true[1]}", f"{new[0]} → {new[1]}"


def _cell(share: float) -> str:
    return f"{100 * share:5.1f}"


def _sentence(text: str) -> str:
    """The text up to the end of its first sentence."""
    return " ".join(text.split(".")[0].split()) + "."


def _verdict(good: bool, text: str) -> str:
    return f"[green]{text}[/]" if good else f"[bold red]NOT {text}[/]"


def as_dict(story: Story) -> dict[str, Any]:
    """The story as JSON."""
    return {
        "model": story.lm.name,
        "subject": story.fact.subject,
        "prompt": story.fact.prompt,
        "target_true": story.fact.target_true,
        "target_new": story.fact.target_new,
        "layer": story.edit.provenance.settings["layer"],
        "edit_seconds": story.seconds,
        "before": _scores(story.before),
        "after": _scores(story.after),
        "texts_before": story.texts_before,
        "texts_after": story.texts_after,
        "file_bytes": story.file_bytes,
        "reverted_bit_equal": story.reverted,
        "reloaded_equal": story.reloaded,
    }


def _scores(scores: RecordScores) -> dict[str, dict[str, list[float]]]:
    return {name: pair.to_json() for name, pair in scores.groups.items()}
