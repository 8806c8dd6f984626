"""The manifest of a run's folder: which run it is, so that another one is refused with what differs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from knowedit.errors import FileFormatError, InputError
from knowedit.runs.lines import canonical

MANIFEST: Final = "manifest.json"


def manifest_bytes(content: Mapping[str, Any], *, allow_nan: bool = True) -> bytes:
    """The content of the file.

    Raises:
        ValueError: a number that is NaN or infinite, unless they are allowed.
    """
    return (json.dumps(content, indent=1, ensure_ascii=False, allow_nan=allow_nan) + "\n").encode()


def read_manifest(folder: Path, kind: str, schema: int, title: str) -> dict[str, Any] | None:
    """The manifest of a run's folder, or None where there is none.

    Args:
        folder: the run's.
        kind: what its ``kind`` has to be.
        schema: what its ``schema`` has to be.
        title: what the run is called, with its article.

    Raises:
        FileFormatError: it is not one of that kind and schema.
    """
    path = folder / MANIFEST
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise FileFormatError(f"{path} is not JSON ({error}): restore it, or give another folder") from None
    if not isinstance(found, dict) or (found.get("kind"), found.get("schema")) != (kind, schema):
        raise FileFormatError(
            f"{path} is not the manifest of {title} of schema {schema}: give another folder"
        )
    return found


def require_same(folder: Path, there: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    """Refuse to go on with another run; compares what both say.

    Raises:
        InputError: with every difference.
    """
    if listed := differences(there, here):
        raise InputError(
            f"{folder} belongs to another run: {listed}; ask for the same to go on with it, or give another "
            "folder"
        )


def differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    """What two identities say differently, for people; empty where they are the same."""
    old, new = _flat(json.loads(canonical(there))), _flat(json.loads(canonical(here)))
    names = [name for name in sorted(old.keys() | new.keys()) if old.get(name) != new.get(name)]
    return "; ".join(f"{name} is {old.get(name)} there and {new.get(name)} here" for name in names)


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, inner in value.items():
        at = f"{prefix}{name}"
        found |= _flat(inner, f"{at} ") if isinstance(inner, Mapping) else {at: inner}
    return found
