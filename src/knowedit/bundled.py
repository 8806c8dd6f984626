"""The models that ship with the package, and what is noted about a model in its folder.

Both are found without importing what made or opens a model.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from knowedit.errors import FileFormatError, InputError
from knowedit.writing import plain_name

DATA = Path(__file__).parent / "data"
NOTES = "knowedit.json"
KNOWN_FACTS = "known_facts.json"
"""In a bundled model's folder: facts that it knows, with ``subject``, ``relation``, ``prompt``, ``target_true``."""


class _Folders(dict[str, Path]):
    def __missing__(self, name: str) -> Path:
        raise InputError(f"{name!r} is not a bundled model: use one of {', '.join(self) or 'none'}")


def bundled_models() -> dict[str, Path]:
    """Name and folder of every bundled model, in alphabetical order; another key is an `InputError`."""
    return _Folders({path.parent.name: path.parent for path in sorted(DATA.glob("*/config.json"))})


def notes(folder: Path | None) -> dict[str, Any]:
    """What is noted about a model in the file ``knowedit.json`` of its folder: edit layer, recall and the like.

    Args:
        folder: the model's folder; None, or a folder without that file, has no notes.

    Raises:
        FileFormatError: the file is not a JSON object.
    """
    path = None if folder is None else folder / NOTES
    if path is None or not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise FileFormatError(f"{path} is not JSON ({error}): restore it or remove it") from None
    if not isinstance(found, dict):
        raise FileFormatError(
            f"{path} holds a {type(found).__name__}, expected an object: restore it or remove it"
        )
    return found


def statistics_text(folder: Path | None) -> Path | None:
    """The file beside a model, named by its notes, with texts for key statistics; None where they name none.

    Raises:
        FileFormatError: the notes are damaged, or what they name is no plain name of a file.
    """
    name = notes(folder).get("statistics_text")
    if folder is None or name is None:
        return None
    return folder / plain_name(name, f"statistics_text in {folder / NOTES}")
