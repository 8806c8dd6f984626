"""The one file format of the package: safetensors, with every byte accounted for.

The safetensors library writes its metadata in an order that changes from file to file, so there is one entry: all
that a file says about itself, as JSON under ``knowedit``. So the same content gives the same bytes, and any
safetensors reader opens them. Version 0.1.0 gave every item an entry of its own; such files are read as well.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from knowedit.errors import FileFormatError, InputError

PREFIX: Final = "knowedit."
_ENTRY: Final = "knowedit"

PathLike = str | os.PathLike[str]


@dataclass(frozen=True)
class Kind:
    """What a file is: a name, the schema this version reads and writes, and what wrote it.

    Attributes:
        name: for instance ``"second_moment"``.
        schema: changes when an older reader would misunderstand the file.
        title: for error messages, for instance ``"second moment"``.
        writer: for error messages, for instance ``"SecondMoment.save"``.
    """

    name: str
    schema: str
    title: str
    writer: str

    def digest(self, tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]) -> str:
        """The hexadecimal SHA-256 that `write_tensors` puts into the file of this content.

        Raises:
            InputError: metadata that is not text or uses a reserved key.
        """
        return _content(self, tensors, metadata, {})[0][PREFIX + "sha256"]


def write_bytes(path: PathLike, *parts: bytes | memoryview) -> None:
    """Write a file atomically: a temporary file in the same folder, flushed, then put in place.

    Raises:
        InputError: the folder does not exist.
    """
    with _replacing(path) as temporary, temporary.open("wb") as stream:
        for part in parts:
            stream.write(part)


@contextmanager
def _replacing(path: PathLike) -> Iterator[Path]:
    """An empty file beside `path`, which takes its place, flushed, when the block ends well."""
    target = Path(path)
    if not target.parent.is_dir():
        raise InputError(
            f"the folder {target.parent} does not exist; expected a folder to save in; create it"
        )
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(8)}.tmp")
    try:
        temporary.open("xb").close()
    except OSError as error:
        raise InputError(f"{target} cannot be written ({error.strerror}): give another path") from None
    try:
        mode = temporary.stat().st_mode
        yield temporary
        temporary.chmod(mode)  # the safetensors library lets nobody but the owner read its files
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


@dataclass(frozen=True, eq=False)
class Content:
    """What a file holds.

    Attributes:
        tensors: by name.
        metadata: the caller's own text.
        own: the entries of the kind itself, without their prefix.
    """

    tensors: dict[str, NDArray[Any]]
    metadata: dict[str, str]
    own: dict[str, str]


def write_tensors(
    path: PathLike,
    kind: Kind,
    tensors: Mapping[str, NDArray[Any]],
    metadata: Mapping[str, str],
    *,
    own: Mapping[str, str] | None = None,
) -> None:
    """Write tensors and metadata atomically; the same content gives the same bytes.

    Args:
        path: the file; its folder must exist.
        kind: what the file is.
        tensors: float64, float32 or int64 arrays.
        metadata: a user's text; keys that start with ``knowedit.`` are reserved.
        own: entries of the kind itself, which no user's text can collide with.

    Raises:
        InputError: no such folder, no room, or metadata that is not text or uses a reserved key.
    """
    entries, arrays = _content(kind, tensors, metadata, own or {})
    with _replacing(path) as temporary:
        try:
            save_file(arrays, temporary, metadata={_ENTRY: _as_json(entries)})
        except SafetensorError as error:
            raise InputError(f"{path} cannot be written ({error}): make room, or give another path") from None


def _content(
    kind: Kind, tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, str], own: Mapping[str, str]
) -> tuple[dict[str, str], dict[str, NDArray[Any]]]:
    """All entries of the file, its digest among them, and its arrays in their order."""
    _require_text(metadata)
    reserved = {**own, "kind": kind.name, "schema": kind.schema}
    entries = {**metadata, **{PREFIX + key: value for key, value in reserved.items()}}
    arrays = {name: _little_endian(tensors[name]) for name in sorted(tensors)}
    return {**entries, PREFIX + "sha256": _digest(entries, arrays)}, arrays


def read_tensors(path: PathLike, kind: Kind) -> Content:
    """Read and verify a file that `write_tensors` wrote.

    Raises:
        InputError: there is no such file.
        FileFormatError: it is truncated, altered, of another kind, or of another schema.
    """
    source = Path(path)
    if not source.is_file():
        raise InputError(f"there is no file {source}; expected a saved {kind.title}; check the path")
    try:
        with safe_open(source, framework="np") as container:
            stored = _entries(container.metadata() or {})
            _require_kind(source, kind, stored)
            tensors = {name: container.get_tensor(name) for name in sorted(container.keys())}
    except (SafetensorError, UnicodeError) as error:
        raise FileFormatError(
            f"{source} is not a whole safetensors file ({' '.join(str(error).split())}); expected one that "
            f"{kind.writer} wrote; copy or make it again"
        ) from None
    expected = stored.pop(PREFIX + "sha256", None)
    if _digest(stored, tensors) != expected:
        raise FileFormatError(
            f"{source} was altered after it was saved (its SHA-256 does not match); expected the bytes that "
            f"{kind.writer} wrote; copy or make it again"
        )
    return Content(
        tensors=tensors,
        metadata={key: value for key, value in stored.items() if not key.startswith(PREFIX)},
        own={key.removeprefix(PREFIX): value for key, value in stored.items() if key.startswith(PREFIX)},
    )


def _little_endian(array: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))


def _require_text(metadata: Mapping[str, str]) -> None:
    for key, value in metadata.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise InputError(
                f"metadata entry {key!r}: {value!r} is not text; expected str to str; convert it"
            )
        if key.startswith(PREFIX):
            raise InputError(f"metadata key {key!r} is reserved; expected no key that starts with {PREFIX!r}")


def _as_json(entries: Mapping[str, str]) -> str:
    return json.dumps(dict(sorted(entries.items())), separators=(",", ":"))


def _entries(stored: Mapping[str, str]) -> dict[str, str]:
    """The file's description of itself; empty where another program wrote it."""
    if set(stored) != {_ENTRY}:
        return dict(stored)
    try:
        found = json.loads(stored[_ENTRY])
    except (ValueError, RecursionError):
        return {}
    # Another way to write the same entries is an altered file too.
    return found if isinstance(found, dict) and _as_json(found) == stored[_ENTRY] else {}


def _digest(entries: Mapping[str, str], arrays: Mapping[str, NDArray[Any]]) -> str:
    """SHA-256 of all metadata but itself, and the names, dtypes, shapes and bytes of the tensors."""
    shapes = [[name, array.dtype.str, list(array.shape)] for name, array in arrays.items()]
    found = hashlib.sha256(json.dumps([sorted(entries.items()), shapes]).encode())
    for array in arrays.values():
        found.update(_little_endian(array).reshape(-1).view(np.uint8).data)
    return found.hexdigest()


def _require_kind(source: Path, kind: Kind, stored: Mapping[str, str]) -> None:
    if stored.get(PREFIX + "kind") != kind.name:
        raise FileFormatError(
            f"{source} is a safetensors file but not a saved {kind.title}; expected one that {kind.writer} "
            "wrote; check the path"
        )
    if stored.get(PREFIX + "schema") != kind.schema:
        raise FileFormatError(
            f"{source} has schema {stored.get(PREFIX + 'schema')!r}; expected {kind.schema!r}; "
            "read it with the version of knowedit that wrote it"
        )
