"""The models that have a name in the package, and what is noted about a model in its folder.

Both are found without importing what made or opens a model.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
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
class Weights:
    """Where the weights are of a model of which only notes are here: one GGUF file, in another package and on the Hub.

    Attributes:
        package: the package that carries it.
        version: of that package.
        file: the path in it.
        repository: an id on the Hugging Face Hub.
        revision: the commit there.
        name: the file there.
        sha256: of the file, so that the model's name always means the same weights.
        bytes: its size.
    """

    package: str
    version: str
    file: str
    repository: str
    revision: str
    name: str
    sha256: str
    bytes: int

    @classmethod
    def of(cls, folder: Path) -> Weights | None:
        """Those of a model of this package; None for a folder that holds its weights itself, or is not in it.

        Raises:
            FileFormatError: the notes are damaged.
        """
        noted = notes(folder).get("weights") if folder in own_models().values() else None
        return None if noted is None else cls(**noted)

    @property
    def installed(self) -> Path | None:
        """The file in the package, which is found and not imported; None where it is not installed."""
        try:
            path = Path(str(distribution(self.package).locate_file(self.file)))
        except PackageNotFoundError:
            return None
        return path if path.is_file() else None

    @property
    def command(self) -> str:
        """What installs the package, without what it needs for its own purposes."""
        return f"pip install --no-deps {self.package}=={self.version}"


@dataclass(frozen=True)
class _Notes:
    """The notes that the package reads itself; there may be others."""

    edit_layer: int | None = None
    statistics_text: str | None = None
    fine_tuning: dict[str, _Known] | None = None
    recall: dict[str, float | None] | None = None
    recipe: dict[str, Any] | None = None
    weights: Weights | None = None


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


def own_models() -> dict[str, Path]:
    """Name and folder of every model that has a name here, in alphabetical order.

    Those are the bundled ones, and those of which only notes are here; where their weights are is in the notes.
    """
    found = {path.parent.name: path.parent for path in sorted(DATA.glob(f"*/{NOTES}"))}
    return dict(sorted({**found, **bundled_models()}.items()))


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
