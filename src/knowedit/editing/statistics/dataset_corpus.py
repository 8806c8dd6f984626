"""Texts from a data set of the Hugging Face ``datasets`` library, streamed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from knowedit.editing.statistics.corpus import Corpus, Identity
from knowedit.errors import InputError
from knowedit.models.sources.hub import hub_answers

FORMATS = {".parquet": "parquet", ".json": "json", ".jsonl": "json", ".csv": "csv", ".arrow": "arrow"}


def dataset(
    source: str | Path,
    *,
    split: str = "train",
    field: str = "text",
    config: str | None = None,
    revision: str | None = None,
) -> Corpus:
    """The texts in one field of a data set, read as a stream: nothing is downloaded as a whole.

    Args:
        source: an id on the Hub; or a local file (parquet, JSON, CSV, arrow), a folder of such files, or a
            folder that ``save_to_disk`` wrote.
        split: which part.
        field: the column with the text.
        config: the configuration, where the data set has several, for instance ``20231101.en``.
        revision: a commit, branch or tag on the Hub.

    Raises:
        InputError: ``datasets`` is not installed, or there is no such data set, configuration, split or
            field; in the stream, an entry without text.
    """
    local = Path(source).exists()
    _check_use(source, local, config, revision)
    try:
        rows, version = (
            _opened(source, split, config, revision) if local else _hub(source, split, config, revision)
        )
    except (ValueError, OSError, RuntimeError) as error:
        raise InputError(
            f"the data set {source} (split {split!r}, configuration {config!r}) cannot be opened: "
            f"{' '.join(str(error).split())}; check its name, split and configuration"
        ) from None
    _require_field(source, rows, field)
    identity: Identity = {"kind": "dataset", "split": split, "field": field, "config": config}
    identity |= {"sha256": _files_digest(Path(source))} if local else {"id": str(source), "revision": version}
    name = Path(source).name if local else str(source)
    return Corpus(
        name, identity, lambda: Corpus.fields(_entries(rows, f"{source}, {split}"), field), _size(rows)
    )


def _check_use(source: str | Path, local: bool, config: str | None, revision: str | None) -> None:
    """Refuse what a file has no use for, and the Hub where there is none: its client tries for half a minute."""
    if local and revision is not None:
        raise InputError(f"{source} is on this machine and has no revision {revision!r}: leave it out")
    if Path(source).is_file() and config is not None:
        raise InputError(f"{source} is a file and has no configuration {config!r}: leave it out")
    if not local and _library() and not hub_answers():
        raise InputError(
            f"there is no data set {str(source)!r}: it is no file or folder, and the Hugging Face Hub cannot be "
            "reached; check the spelling, or download it where there is a network"
        )


def _library() -> Any:
    try:
        import datasets
    except ImportError:
        raise InputError(
            "reading a data set needs the package datasets: install knowedit[datasets], or give a text or "
            "JSONL file"
        ) from None
    return datasets


def _hub(source: Any, split: str, config: str | None, revision: str | None) -> tuple[Any, str]:
    builder = _library().load_dataset_builder(str(source), config, revision=revision)
    return builder.as_streaming_dataset(split=split), str(builder.hash)  # the hash is the Hub's commit


def _opened(source: Any, split: str, config: str | None, _revision: str | None) -> tuple[Any, str]:
    library, path = _library(), Path(source)
    if (path / "state.json").is_file() or (path / "dataset_dict.json").is_file():
        saved = library.load_from_disk(str(path))
        if not isinstance(saved, dict):
            return saved, ""
        if split not in saved:
            raise ValueError(f"it has the splits {', '.join(saved)}")
        return saved[split], ""
    if path.is_dir():
        return library.load_dataset_builder(str(path), config).as_streaming_dataset(split=split), ""
    if path.suffix not in FORMATS:
        raise ValueError(f"a file of type {path.suffix!r} is not known, use {', '.join(FORMATS)}")
    builder = library.load_dataset_builder(FORMATS[path.suffix], data_files={split: str(path)})
    return builder.as_streaming_dataset(split=split), ""


def _require_field(source: Any, rows: Any, field: str) -> None:
    names = rows.column_names
    if names is not None and field not in names:
        raise InputError(f"the data set {source} has no field {field!r}: its fields are {', '.join(names)}")


def _size(rows: Any) -> int | None:
    if hasattr(rows, "__len__"):
        return len(rows)
    splits = rows.info.splits or {}
    found = splits.get(str(rows.split))
    return None if found is None else int(found.num_examples)


def _entries(rows: Iterable[Mapping[str, Any]], name: str) -> Iterator[tuple[str, object]]:
    for number, entry in enumerate(rows):
        yield f"{name}, entry {number}", dict(entry)


def _files_digest(source: Path) -> str:
    """One SHA-256 over the names and contents of the files of a folder, or of one file."""
    files = sorted(path for path in source.rglob("*") if path.is_file()) if source.is_dir() else [source]
    found = hashlib.sha256()
    for path in files:
        with path.open("rb") as stream:
            content = hashlib.file_digest(stream, "sha256").hexdigest()
        found.update(f"{path.relative_to(source).as_posix()} {content}\n".encode())
    return found.hexdigest()
