"""The one file format of the package: safetensors, with every byte accounted for.

The safetensors library writes its metadata in an order that changes from file to file, so there is one entry: all
that a file says about itself, as JSON under ``knowedit``. So the same content gives the same bytes, and any
safetensors reader opens them. Version 0.1.0 gave every item an entry of its own; such files are read as well.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from knowedit.errors import FileFormatError, InputError
from knowedit.reading import parsed, shown
from knowedit.writing import PathLike, new_file

PREFIX: Final = "knowedit."
_ENTRY: Final = "knowedit"

FORMATS: Final = {"int64": "I64", "float64": "F64", "float32": "F32"}
"""Numbers that are written, in the order that the safetensors library has them in."""


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
    force: bool = False,
) -> None:
    """Write tensors and metadata atomically; the same content gives the same bytes.

    Args:
        path: the file; its folder must exist.
        kind: what the file is.
        tensors: arrays of one of `FORMATS`, none empty.
        metadata: a user's text; keys that start with ``knowedit.`` are reserved.
        own: entries of the kind itself, which no user's text can collide with.
        force: replace a file that is there.

    Raises:
        InputError: no such folder, no room, a file that is there, a tensor that is empty or of another format, or
            metadata that is not text or uses a reserved key.
    """
    entries, arrays = _content(kind, tensors, metadata, own or {})
    _require_numbers(path, kind, arrays)
    write_safetensors(path, arrays, {_ENTRY: _as_json(entries)}, force=force)


def write_safetensors(
    path: PathLike, tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, str], *, force: bool = False
) -> None:
    """Write what ``safetensors.numpy.save_file`` writes, byte for byte, as `new_file` does.

    That function has a temporary file of its own, which stays if the process is killed, and which nobody but the
    owner may read. To write its bytes (``save``) would take the memory of the tensors twice.

    Args:
        path: the file; its folder must exist.
        tensors: float64, float32 or int64 arrays.
        metadata: as the format has it.
        force: replace a file that is there.

    Raises:
        InputError: see `new_file`.
    """
    order = list(FORMATS)
    little = {name: array.dtype.newbyteorder("<") for name, array in tensors.items()}
    arrays = {name: np.asarray(array, dtype=little[name], order="C") for name, array in tensors.items()}
    names = sorted(arrays, key=lambda name: (order.index(arrays[name].dtype.name), name))
    with new_file(path, force=force) as stream:
        stream.write(_header(metadata, {name: arrays[name] for name in names}))
        for name in names:
            stream.write(arrays[name].reshape(-1).view(np.uint8).data)


def _header(metadata: Mapping[str, str], arrays: Mapping[str, NDArray[Any]]) -> bytes:
    entries: dict[str, Any] = {"__metadata__": dict(metadata)}
    end = 0
    for name, array in arrays.items():
        begin, end = end, end + array.nbytes
        kind, shape = FORMATS[array.dtype.name], list(array.shape)
        entries[name] = {"dtype": kind, "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(entries, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


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
        FileFormatError: it is truncated, altered, of another kind, or of another schema, or has a tensor that is empty
            or of another number format than `FORMATS`.
    """
    source = Path(path)
    if not source.is_file():
        raise InputError(f"there is no file {source}; expected a saved {kind.title}; check the path")
    try:
        with safe_open(source, framework="np") as container:
            stored = _entries(container.metadata() or {})
            _require_kind(source, kind, stored)
            tensors = {name: container.get_tensor(name) for name in sorted(container.keys())}
    except (SafetensorError, UnicodeError, OSError, TypeError, AttributeError, ValueError) as error:
        if isinstance(error, FileFormatError):
            raise
        raise FileFormatError(
            f"{source} is not a whole safetensors file ({shown(error)}); expected one that "
            f"{kind.writer} wrote; copy or make it again"
        ) from None
    _require_numbers(source, kind, tensors)
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


def _require_numbers(source: PathLike, kind: Kind, tensors: Mapping[str, NDArray[Any]]) -> None:
    for name, array in tensors.items():
        if array.dtype.name not in FORMATS or not array.size:
            raise FileFormatError(
                f"{source} has the tensor {shown(name)} of {array.dtype.name} and shape {array.shape}; expected one "
                f"that is not empty, of {', '.join(FORMATS)}, as {kind.writer} writes; make it again"
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
        found = parsed(stored[_ENTRY], "its description", "make it again")
    except FileFormatError:
        return {}
    # Another way to write the same entries is an altered file too.
    whole = isinstance(found, dict) and all(isinstance(text, str) for text in found.values())
    return found if whole and _as_json(found) == stored[_ENTRY] else {}


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
            f"{source} has schema {shown(stored.get(PREFIX + 'schema'))}; expected {kind.schema!r}; "
            "read it with the version of knowedit that wrote it"
        )
