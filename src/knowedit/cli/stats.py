"""``knowedit stats``: key statistics of a model over a corpus, resumable."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from knowedit.cli.output import console, percent, print_json, stderr
from knowedit.editing import Corpus, Reading, StatisticsRun, dataset, jsonl_file, shuffled, text_file
from knowedit.editing.statistics.files import moment_file
from knowedit.editing.statistics.run import Progress as Done
from knowedit.errors import InputError
from knowedit.models import LanguageModel, load
from knowedit.tensorfile import write_bytes

STEPS = 10_000
MOST_LAYERS = 10_000
"""Of a progress bar, which counts the share that is done."""


@dataclass(frozen=True)
class Source:
    """The options that say which texts."""

    text: Path | None
    jsonl: Path | None
    dataset: str | None
    field: str
    split: str
    config: str | None
    revision: str | None
    shuffle: int | None

    def open(self) -> Corpus:
        """The corpus.

        Raises:
            InputError: not exactly one source, or one that cannot be read.
        """
        corpus = self._plain()
        return corpus if self.shuffle is None else shuffled(corpus, self.shuffle)

    def _plain(self) -> Corpus:
        given = [
            name
            for name, value in (("--text", self.text), ("--jsonl", self.jsonl), ("--dataset", self.dataset))
            if value is not None
        ]
        if len(given) != 1:
            found = " and ".join(given) or "no source of text"
            raise InputError(f"{found} was given: give one of --text, --jsonl and --dataset")
        if self.text is not None:
            return text_file(self.text)
        if self.jsonl is not None:
            return jsonl_file(self.jsonl, self.field)
        return dataset(
            str(self.dataset),
            split=self.split,
            field=self.field,
            config=self.config,
            revision=self.revision,
        )


@dataclass(frozen=True)
class StatsRequest:
    """The options of ``knowedit stats``."""

    model: str
    device: str
    source: Source
    layers: str
    part: str
    reading: Reading
    out: Path
    install: bool
    checkpoint_seconds: float


def parse_layers(text: str) -> tuple[int, ...]:
    """``3-7,10`` as numbers, in order and each once.

    Raises:
        InputError: anything else.
    """
    found: set[int] = set()
    for piece in text.split(","):
        first, dash, last = (side.strip() for side in piece.partition("-"))
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise InputError(f"the layers {text!r} cannot be read at {piece!r}: write them as in 3-7,10")
        if dash and int(last) < int(first):
            raise InputError(f"the layers {piece!r} go down: write the smaller number first")
        if int(last or first) >= MOST_LAYERS:
            raise InputError(f"the layers {piece!r} are beyond any model's: layers count from 0")
        found.update(range(int(first), int(last or first) + 1))
    return tuple(sorted(found))


def run_stats(request: StatsRequest, *, as_json: bool) -> None:
    """Gather, or go on, or find it done; then say what was found."""
    layers = parse_layers(request.layers)
    with stderr.status("reading the corpus and the model"):
        corpus = request.source.open()
        lm = load(request.model, device=request.device)
    run = StatisticsRun(
        corpus, layers, request.out, request.part, request.reading, request.checkpoint_seconds
    )
    if request.install:
        _check_install(lm, run)
    manifest = _watched(run, lm)
    installed = _install(lm, run) if request.install else []
    if as_json:
        print_json(manifest | {"out": str(request.out), "installed": [str(path) for path in installed]})
        return
    _print(manifest, request.out, installed)


def _watched(run: StatisticsRun, lm: LanguageModel) -> dict[str, Any]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[done]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=stderr, transient=True) as bar:
        return run.gather(lm, watch=_Watch(bar, run))


class _Watch:
    """Draws a run's progress; the bar begins where an earlier process stopped."""

    def __init__(self, bar: Progress, run: StatisticsRun):
        self._bar, self._run = bar, run
        self._task: TaskID | None = None

    def __call__(self, now: Done) -> None:
        share = share_done(now, self._run.corpus.size, self._run.reading)
        if self._task is None:
            total = None if share is None else STEPS
            begun = int(STEPS * (share or 0.0))
            self._task = self._bar.add_task("gathering", total=total, completed=begun, done="")
        elapsed = self._bar.tasks[self._task].elapsed or 0.0
        speed = f", {now.fresh / elapsed:,.0f} tokens/s" if elapsed > 1 else ""
        done = f"{now.texts:,} texts, {now.tokens:,} tokens{speed}"
        self._bar.update(self._task, completed=STEPS * (share or 0.0), done=done)


def share_done(now: Done, size: int | None, reading: Reading) -> float | None:
    """How much of a run is done, from 0 to 1, or None where nobody knows how much there is."""
    texts = [limit for limit in (size, reading.max_texts) if limit is not None]
    shares = [now.texts / min(texts)] if texts else []
    if reading.max_tokens is not None:
        shares.append(now.tokens / reading.max_tokens)
    return min(1.0, max(shares)) if shares else None


def _targets(lm: LanguageModel, run: StatisticsRun) -> list[tuple[Path, Path]]:
    if lm.folder is None:
        raise InputError(f"{lm.name} has no folder to install into: leave out --install")
    names = [moment_file(layer, run.part) for layer in run.layers]
    return [(run.out / name, lm.folder / name) for name in names]


def _check_install(lm: LanguageModel, run: StatisticsRun) -> None:
    """Refuse, before any work, to replace a file in the model's folder.

    Raises:
        InputError: the model has no folder, or that has other statistics of these layers.
    """
    for source, target in _targets(lm, run):
        same = source.is_file() and target.is_file() and source.read_bytes() == target.read_bytes()
        if target.exists() and not same:
            raise InputError(f"{target} exists already: remove it first, or leave out --install")


def _install(lm: LanguageModel, run: StatisticsRun) -> list[Path]:
    targets = _targets(lm, run)
    for source, target in targets:
        write_bytes(target, source.read_bytes())
    return [target for _, target in targets]


def _print(manifest: dict[str, Any], out: Path, installed: list[Path]) -> None:
    table = Table("layer", "tokens", "condition", "change with more text", "excess", box=None)
    for row in manifest["layers"]:
        condition = "not of full rank" if row["condition"] is None else f"{row['condition']:.1e}"
        table.add_row(
            str(row["layer"]),
            f"{row['tokens']:,}",
            condition,
            *(
                "too little text" if row[name] is None else percent(row[name])
                for name in ("change", "excess")
            ),
        )
    console.print(table)
    for row in manifest["layers"]:
        console.print(f"layer {row['layer']}: {advice(row)}")
    console.print(f"written to {escape(str(out))}")
    for path in installed:
        console.print(f"installed as {escape(str(path))}")


def advice(row: dict[str, Any]) -> str:
    """What the figures of a layer mean for somebody who wants to edit there."""
    enough = f"{row['tokens']:,} tokens for keys of length {row['width']:,}"
    if row["condition"] is None:
        return f"not of full rank ({enough}): an edit would be refused; gather much more text, or damp it"
    if row["change"] is None:
        return f"half of the text is not of full rank ({enough}): gather much more text"
    return (
        f"with more text of this kind an update would change by about {percent(row['change'])} of its effect "
        f"on other keys; as it is, it disturbs them {percent(row['excess'])} more than it has to"
    )
