"""The manifest of a run's folder: which run it is, so that another one is refused with what differs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from knowedit.errors import FileFormatError, InputError
from knowedit.reading import checked, read_json
from knowedit.runs.lines import DIGITS, SEAL, canonical
from knowedit.writing import write_bytes

MANIFEST: Final = "manifest.json"
ADVICE: Final = "restore it, or give another folder"
UNSEALED: Final = 1
"""Manifests of this schema were written without a seal."""


def write_manifest(folder: Path, content: Mapping[str, Any]) -> None:
    """Write the manifest atomically, with a seal as its last entry.

    Raises:
        InputError: the disk is full, or the file cannot be written.
    """
    write_bytes(folder / MANIFEST, _sealed(content), force=True)


def read_manifest(folder: Path, kind: str, schemas: Sequence[int], title: str) -> dict[str, Any] | None:
    """The manifest of a run's folder without its seal, or None where there is none.

    Args:
        folder: the run's.
        kind: what its ``kind`` has to be.
        schemas: one of which its ``schema`` has to be.
        title: what the run is called, with its article.

    Raises:
        FileFormatError: it is not one of that kind and these schemas, or not as it was written.
        InputError: the run was condemned.
    """
    path = folder / MANIFEST
    if not path.is_file():
        return None
    found = checked(dict[str, Any], read_json(path, ADVICE), path, ADVICE)
    schema = found.get("schema")
    if schema is None or found.get("kind") != kind or schema not in schemas or type(schema) is not int:
        listed = " or ".join(map(str, schemas))
        raise FileFormatError(
            f"{path} is not the manifest of {title} of schema {listed}: give another folder"
        )
    seal = found.pop(SEAL, None)
    if (seal is not None or schema != UNSEALED) and _sealed(found) != path.read_bytes():
        raise FileFormatError(f"{path} is not as it was written: {ADVICE}")
    checked(dict[str, Any], found.get("run"), f"{path}, the entry run,", ADVICE)
    checked(dict[str, str], found.get("names", {}), f"{path}, the entry names,", ADVICE)
    if "condemned" in found:
        raise InputError(f"the run in {folder} cannot be used: {found['condemned']}")
    return found


def _sealed(content: Mapping[str, Any]) -> bytes:
    text = json.dumps(content, ensure_ascii=False)
    seal = hashlib.sha256(text.encode()).hexdigest()[:DIGITS]
    return (json.dumps({**content, SEAL: seal}, indent=1, ensure_ascii=False) + "\n").encode()


def differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    """How two identities differ, for people; empty where they are the same."""
    old, new = _flat(json.loads(canonical(there))), _flat(json.loads(canonical(here)))
    names = [name for name in sorted(old.keys() | new.keys()) if old.get(name) != new.get(name)]
    return "; ".join(f"{name} is {old.get(name)} there and {new.get(name)} here" for name in names)


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, inner in value.items():
        at = f"{prefix}{name}"
        found |= _flat(inner, f"{at} ") if isinstance(inner, Mapping) else {at: inner}
    return found
