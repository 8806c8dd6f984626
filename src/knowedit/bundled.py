"""The models that ship with the package, and what is noted about a model in its folder.

Both are found without importing what made or opens a model.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from knowedit.errors import InputError
from knowedit.reading import checked, read_json
from knowedit.writing import plain_name

DATA = Path(__file__).parent / "data"
NOTES = "knowedit.json"
KNOWN_FACTS = "known_facts.json"
"""In a bundled model's folder: facts that it knows, with ``subject``, ``relation``, ``prompt``, ``target_true``."""


@dataclass(frozen=True)
class _Notes:
    """The notes that the package reads itself; there may be others."""

    edit_layer: int | None = None
    statistics_text: str | None = None
    fine_tuning: dict[str, _Known] | None = None
    recall: dict[str, float | None] | None = None
    recipe: dict[str, Any] | None = None


@dataclass(frozen=True)
class _Known:
    """Settings of a way of fine-tuning that suit the model."""

    layer: int | None = None
    bound: float | None = None
    learning_rate: float | None = None


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
        FileFormatError: the file is not a JSON object, or a note that the package reads is of another type.
    """
    path = None if folder is None else folder / NOTES
    if path is None or not path.is_file():
        return {}
    advice = "restore it or remove it"
    found = checked(dict[str, Any], read_json(path, advice), path, advice)
    checked(_Notes, found, path, advice)
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
