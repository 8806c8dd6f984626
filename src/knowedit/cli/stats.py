"""``knowedit stats``: key statistics of a model over a corpus, resumable."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

import knowedit
from knowedit.cli.options import (
    DEFAULT_MODEL,
    LARGEST_COUNT,
    LARGEST_SEED,
    Device,
    Dtype,
    Json,
    Layers,
    Model,
    RunFolder,
)
from knowedit.cli.output import check_folder, console, print_json, progress, safe
from knowedit.errors import InputError

if TYPE_CHECKING:
    from knowedit.editing import Corpus, StatisticsRun
    from knowedit.editing.statistics.corpus import Position
    from knowedit.editing.statistics.run import Watch
    from knowedit.models import LanguageModel


MOST_BATCH = 1_000_000
"""Tokens of a forward: a thousand texts of a thousand tokens; its memory grows with them."""


def stats(
    layers: Layers,
    out: RunFolder,
    text: Annotated[Path | None, typer.Option(help="A file with one text a line.")] = None,
    jsonl: Annotated[Path | None, typer.Option(help="A file with one JSON object a line.")] = None,
    dataset: Annotated[
        str | None, typer.Option(help="A data set: an id on the Hub, a local file or folder.")
    ] = None,
    field: Annotated[str, typer.Option(help="Where the text is, in JSONL or a data set.")] = "text",
    split: Annotated[str, typer.Option(help="Which part of a data set.")] = "train",
    config: Annotated[str | None, typer.Option(help="Which configuration of a data set.")] = None,
    revision: Annotated[str | None, typer.Option(help="Which revision of a data set on the Hub.")] = None,
    shuffle: Annotated[
        int | None, typer.Option(min=0, max=LARGEST_SEED, help="Shuffle the texts with this seed.")
    ] = None,
    model: Model = DEFAULT_MODEL,
    device: Device = "cpu",
    dtype: Dtype = "float32",
    part: Annotated[str, typer.Option(help="The projection whose inputs are gathered.")] = "mlp_down",
    max_texts: Annotated[
        int | None, typer.Option(min=1, max=LARGEST_SEED, help="Stop after this many texts.")
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option(min=1, max=LARGEST_SEED, help="Stop after this many tokens.")
    ] = None,
    context: Annotated[
        int | None,
        typer.Option(
            min=1, max=LARGEST_COUNT, help="Tokens of a text that are read; by default the positions."
        ),
    ] = None,
    split_long: Annotated[
        bool, typer.Option("--split-long", help="Split longer texts instead of cutting them off.")
    ] = False,
    batch_tokens: Annotated[
        int, typer.Option(min=1, max=MOST_BATCH, help="At most this many tokens a forward.")
    ] = 4096,
    checkpoint_seconds: Annotated[
        float,
        typer.Option(
            min=0,
            max=LARGEST_COUNT,
            help="How often the state is kept, at most; 0 after every eight forwards.",
        ),
    ] = 60.0,
    install: Annotated[
        bool, typer.Option("--install", help="Put the files into the model's folder as well.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Gather, resume, or find it done; then print what was found."""
    from knowedit.editing import Reading, StatisticsRun
    from knowedit.editing.statistics.run import STATE

    check_folder(out)
    _check_part(part)
    with progress("reading the corpus"):
        corpus = _corpus(text, jsonl, dataset, field, split=split, config=config, revision=revision)
        corpus = corpus if shuffle is None else corpus.shuffled(shuffle)
    with progress(f"opening {model}"):
        lm = knowedit.load(model, device=device, dtype=dtype)
    reading = Reading(max_texts, max_tokens, context, split_long, batch_tokens)
    run = StatisticsRun(corpus, layers or (), out, part, reading, checkpoint_seconds)
    targets = _install_targets(lm, run) if install else {}
    kept = (f"what was gathered up to the last checkpoint is in {out}", out / STATE)
    with progress("gathering", kept=kept) as tell:
        manifest = run.run(lm, watch=_watch(run, tell))
    _install(targets)
    installed = [str(target) for target in targets.values()]
    if as_json:
        print_json(manifest | {"out": str(out), "installed": installed})
        return
    _print(manifest)
    console.print(f"written to {safe(out)}")
    for path in installed:
        console.print(f"installed as {safe(path)}")


def _check_part(part: str) -> None:
    """Refuse a projection that no family has.

    Raises:
        InputError: another name.
    """
    from knowedit.models import FAMILIES

    known = dict.fromkeys(name for anatomy in FAMILIES.values() for name in anatomy.projection_parts)
    if part not in known:
        raise InputError(f"there is no projection {part!r}: use one of {', '.join(known)}")


def _corpus(text: Path | None, jsonl: Path | None, dataset: str | None, field: str, **options: Any) -> Corpus:
    """The one source of text.

    Raises:
        InputError: not exactly one, or one that cannot be read.
    """
    from knowedit import editing

    sources = {"--text": text, "--jsonl": jsonl, "--dataset": dataset}
    given = [name for name, value in sources.items() if value is not None]
    if len(given) != 1:
        raise InputError(
            f"{' and '.join(given) or 'no source of text'} {'were' if given else 'was'} given: "
            f"give one of {', '.join(sources)}"
        )
    usual = {"field": "text", "split": "train", "config": None, "revision": None}
    used = () if text is not None else ("field",) if jsonl is not None else tuple(usual)
    asked = options | {"field": field}
    if idle := [name for name in usual if name not in used and asked[name] != usual[name]]:
        raise InputError(f"--{idle[0]} is of no use with {given[0]}: leave it out")
    if text is not None:
        return editing.text_file(text)
    if jsonl is not None:
        return editing.text_file(jsonl, field)
    return editing.dataset(str(dataset), field=field, **options)


def _watch(run: StatisticsRun, tell: Callable[..., None]) -> Watch:
    began = time.monotonic()

    def watch(now: Position, fresh: int) -> None:
        elapsed = time.monotonic() - began
        speed = f", {fresh / elapsed:,.0f} tokens/s" if elapsed > 1 else ""
        count = f"{now.texts:,} texts, {now.tokens:,} tokens{speed}"
        share = run.reading.share(now, run.corpus.size)
        if share is None:
            tell(text=f"gathering: {count}")
        else:
            tell(share, 1.0, note=count)

    return watch


def _install_targets(lm: LanguageModel, run: StatisticsRun) -> dict[Path, Path]:
    """The files of the run, and where they are put in the model's folder.

    Raises:
        InputError: the model has no folder, or that has other statistics of these layers.
    """
    from knowedit.editing.statistics.second_moments import moment_path

    if lm.folder is None:
        raise InputError(f"{lm.name} has no folder to install into: leave out --install")
    targets = {
        moment_path(run.out, layer, run.part): moment_path(lm.folder, layer, run.part) for layer in run.layers
    }
    for source, target in targets.items():
        same = source.is_file() and target.is_file() and source.read_bytes() == target.read_bytes()
        if target.exists() and not same:
            raise InputError(f"{target} exists already: remove it first, or leave out --install")
    return targets


def _install(targets: dict[Path, Path]) -> None:
    from knowedit.writing import write_bytes

    for source, target in targets.items():
        if not target.exists():  # else it is the same, see `_install_targets`
            write_bytes(target, source.read_bytes())


def _print(manifest: dict[str, Any]) -> None:
    table = Table("layer", "tokens", "condition", "change with more text", "excess", box=None)
    for row in manifest["layers"]:
        condition = "not of full rank" if row["condition"] is None else f"{row['condition']:.1e}"
        shares = (
            "too little text" if row[name] is None else f"{row[name]:.1%}" for name in ("change", "excess")
        )
        table.add_row(str(row["layer"]), f"{row['tokens']:,}", condition, *shares)
    console.print(table)
    for row in manifest["layers"]:
        console.print(f"layer {row['layer']}: {_advice(row)}")


def _advice(row: dict[str, Any]) -> str:
    """What the figures of a layer mean for somebody who wants to edit there."""
    enough = f"{row['tokens']:,} tokens for keys of length {row['width']:,}"
    if row["condition"] is None:
        return f"not of full rank ({enough}): an edit would be refused; gather much more text, or damp it"
    if row["change"] is None:
        return f"half of the text is not of full rank ({enough}): gather much more text"
    return (
        f"with more text of this kind an update would change by about {row['change']:.1%} of its effect "
        f"on other keys; as it is, it disturbs them {row['excess']:.1%} more than it has to"
    )
