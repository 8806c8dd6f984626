"""The file of a second moment: safetensors, one tensor, every byte accounted for.

The container is written here and not by the safetensors library because that writes its metadata in
random order; so the same moment gives the same bytes. Any safetensors reader opens it.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from safetensors import SafetensorError, safe_open

from knowedit.errors import FileFormatError, InputError
from knowedit.linalg._arrays import Host

SCHEMA: Final = "1"
PREFIX: Final = "knowedit."
KIND: Final = "second_moment"
TENSOR: Final = "raw_sum"


@dataclass(frozen=True, eq=False)
class MomentRecord:
    """What the file holds: the sum of k kᵀ, the number of keys, the entries' rounding, and free text."""

    raw_sum: Host
    count: int
    resolution: float
    metadata: Mapping[str, str]


def write_moment(path: str | os.PathLike[str], record: MomentRecord) -> None:
    """Write atomically: a temporary file in the same folder, flushed, then put in place.

    Raises:
        InputError: the folder does not exist, or the metadata is not text or uses the reserved prefix.
    """
    target = Path(path)
    if not target.parent.is_dir():
        raise InputError(
            f"the folder {target.parent} does not exist; expected a folder to save in; create it"
        )
    _require_text(record.metadata)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(8)}.tmp")
    try:
        with temporary.open("xb") as stream:
            stream.write(_header(record))
            stream.write(_payload(record.raw_sum))
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def read_moment(path: str | os.PathLike[str]) -> MomentRecord:
    """Read and verify a file.

    Raises:
        InputError: there is no such file.
        FileFormatError: it is truncated, altered, of another kind, or of a newer schema.
    """
    source = Path(path)
    if not source.is_file():
        raise InputError(f"there is no file {source}; expected a saved second moment; check the path")
    try:
        with safe_open(source, framework="np") as container:
            stored = dict(container.metadata() or {})
            _require_kind(source, stored, list(container.keys()))
            raw_sum = container.get_tensor(TENSOR)
    except (SafetensorError, UnicodeError) as error:
        raise FileFormatError(
            f"{source} is not a whole safetensors file ({_one_line(error)}); expected one that "
            f"SecondMoment.save wrote; copy or compute it again"
        ) from None
    return _verified(source, stored, raw_sum)


def _require_text(metadata: Mapping[str, str]) -> None:
    for key, value in metadata.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise InputError(
                f"metadata entry {key!r}: {value!r} is not text; expected str to str; convert it"
            )
        if key.startswith(PREFIX):
            raise InputError(f"metadata key {key!r} is reserved; expected no key that starts with {PREFIX!r}")


def _header(record: MomentRecord) -> bytes:
    own = {"kind": KIND, "schema": SCHEMA, "count": str(record.count), "resolution": record.resolution.hex()}
    entries = {**record.metadata, **{PREFIX + key: value for key, value in own.items()}}
    entries[PREFIX + "sha256"] = _digest(entries, record.raw_sum)
    size = record.raw_sum.size * 8
    tensor = {"dtype": "F64", "shape": list(record.raw_sum.shape), "data_offsets": [0, size]}
    text = json.dumps({"__metadata__": dict(sorted(entries.items())), TENSOR: tensor}, separators=(",", ":"))
    header = text.encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header


def _payload(raw_sum: Host) -> memoryview:
    return np.ascontiguousarray(raw_sum, dtype="<f8").data.cast("B")


def _digest(entries: Mapping[str, str], raw_sum: Host) -> str:
    """SHA-256 of all metadata but itself, the shape, and the bytes of the tensor."""
    head = json.dumps([sorted(entries.items()), list(raw_sum.shape)])
    digest = hashlib.sha256(head.encode())
    digest.update(_payload(raw_sum))
    return digest.hexdigest()


def _require_kind(source: Path, stored: Mapping[str, str], tensors: list[str]) -> None:
    if stored.get(PREFIX + "kind") != KIND or tensors != [TENSOR]:
        raise FileFormatError(
            f"{source} is a safetensors file with tensors {tensors[:3]} but not a second moment; "
            f"expected one that SecondMoment.save wrote; check the path"
        )
    if stored.get(PREFIX + "schema") != SCHEMA:
        raise FileFormatError(
            f"{source} has schema {stored.get(PREFIX + 'schema')!r}; expected {SCHEMA!r}; "
            f"read it with the version of knowedit that wrote it"
        )


def _verified(source: Path, stored: dict[str, str], raw_sum: Any) -> MomentRecord:
    expected = stored.pop(PREFIX + "sha256", None)
    if raw_sum.dtype != np.float64 or _digest(stored, raw_sum) != expected:
        raise FileFormatError(
            f"{source} was altered after it was saved (its SHA-256 does not match); expected the bytes that "
            f"SecondMoment.save wrote; copy or compute it again"
        )
    metadata = {key: value for key, value in stored.items() if not key.startswith(PREFIX)}
    count, resolution = int(stored[PREFIX + "count"]), float.fromhex(stored[PREFIX + "resolution"])
    return MomentRecord(raw_sum, count, resolution, metadata)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
