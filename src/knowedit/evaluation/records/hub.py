"""Records from a data set of the Hugging Face ``datasets`` library: an id on the Hub, or a local copy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from knowedit.errors import InputError
from knowedit.evaluation.records.files import Entry
from knowedit.evaluation.records.record import Record, usable


def load_hub(source: str | Path, split: str | None = None, *, revision: str | None = None) -> list[Record]:
    """The records of one split, or of all splits together, sorted by case id.

    A copy on the Hub may cut COUNTERFACT into ``train`` and ``test``. The first N records of the paper are the
    first by case id over all of them, and not the first of a split.

    Args:
        source: an id on the Hub, a local folder of parquet or JSON files, or one that ``save_to_disk`` wrote.
        split: a split's name; None for all of them.
        revision: a commit, branch or tag on the Hub.

    Raises:
        InputError: ``datasets`` is not installed, there is no such data set or split, or a row is no record.
    """
    try:
        splits = _splits(source, revision)
    except (ValueError, OSError, RuntimeError) as error:
        raise InputError(
            f"the data set {source} cannot be opened: {' '.join(str(error).split())}; check its name"
        ) from None
    if split is not None and split not in splits:
        raise InputError(f"the data set {source} has no split {split!r}: it has {', '.join(splits)}")
    chosen = splits if split is None else {split: splits[split]}
    return sorted(_records(source, chosen), key=lambda record: record.case_id)


def _splits(source: str | Path, revision: str | None) -> dict[str, Iterable[Mapping[str, Any]]]:
    try:
        import datasets
    except ImportError:
        raise InputError(
            "reading a data set needs the package datasets: install knowedit[datasets]"
        ) from None
    folder = Path(source)
    if (folder / "state.json").is_file() or (folder / "dataset_dict.json").is_file():
        saved = datasets.load_from_disk(str(folder))
        return dict(saved) if isinstance(saved, dict) else {str(saved.split or "train"): saved}
    return dict(datasets.load_dataset(str(source), revision=revision, streaming=True))


def _records(source: object, splits: Mapping[str, Iterable[Mapping[str, Any]]]) -> Iterator[Record]:
    rows = (
        Entry(f"{name}, row {row}", _present(entry))
        for name, given in splits.items()
        for row, entry in enumerate(given)
    )
    return usable(rows, source)


def _present(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row without what is None in it: a column that other rows have is no field of this one."""
    return {
        name: _present(value) if isinstance(value, Mapping) else value
        for name, value in row.items()
        if value is not None
    }
