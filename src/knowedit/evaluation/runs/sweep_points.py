"""What a sweep found at each setting of an editor, and which setting is the best."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Final, TypeVar

import numpy as np

from knowedit.errors import FileFormatError, InputError
from knowedit.evaluation.scores.columns import COMPOSITE, Column, harmonic_mean
from knowedit.intervals import Interval
from knowedit.reading import checked
from knowedit.runs import canonical, read_folder

KIND: Final = "knowedit.sweep"
SCHEMA: Final = 2
TITLE: Final = "a sweep"
LINES: Final = "settings.jsonl"
ADVICE: Final = "restore the file, or cut it off before that line to have the rest measured again"
SYMBOLS: Final = {"bound": "ε", "learning_rate": "rate"}


@dataclass(frozen=True)
class SweepPoint:
    """What was found at one setting of an editor.

    Attributes:
        method: what a table calls the editor, for instance ``FT+L``.
        setting: the fields that were varied, and their values.
        asked: all settings of the editor and its version before it met the model.
        settings: the same once it was prepared for the model.
        cases: case ids of the records that were scored.
        columns: of each record, in its own unit and in the order of ``cases``; rounded to 6 digits.
        failed: the error of each record that was not.
        seconds: of one record, edited and scored, on average.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}  # an entry that is not known would be lost

    method: str
    setting: dict[str, Any]
    asked: dict[str, Any] = field(repr=False)
    settings: dict[str, Any] = field(repr=False)
    cases: tuple[int, ...] = field(repr=False)
    columns: dict[str, tuple[float, ...]] = field(repr=False)
    failed: dict[str, str] = field(repr=False)
    seconds: float

    def __str__(self) -> str:
        return self.text(self.method, self.setting)

    @staticmethod
    def text(method: str, setting: Mapping[str, Any]) -> str:
        """A setting for people, for instance ``FT+L layer 0 ε 0.002 rate 0.0005``."""
        values = ((SYMBOLS.get(name, name), value) for name, value in setting.items() if value is not None)
        return " ".join([method, *(f"{name} {_number(value)}" for name, value in values)])

    @property
    def key(self) -> str:
        """See `key_of`."""
        return self.key_of(self.method, self.setting)

    @staticmethod
    def key_of(method: str, setting: Mapping[str, Any]) -> str:
        """The method and the setting as JSON; no two points of a sweep have the same."""
        return canonical([method, setting])

    @staticmethod
    def digest(points: Sequence[SweepPoint]) -> str:
        """SHA-256 of settings and what was found, without the seconds, whatever their order."""
        lines = sorted(canonical(one.to_json() | {"seconds": None}) for one in points)
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """The content of its line."""
        found: dict[str, Any] = json.loads(canonical(asdict(self)))
        return found

    @classmethod
    def from_json(cls, content: Mapping[str, Any], folder: Path) -> SweepPoint:
        """What `to_json` wrote.

        Raises:
            FileFormatError: anything else; names the folder.
        """
        where, advice = f"a line of {folder / LINES}", "give another folder"
        point = checked(cls, content, where, advice)
        checked(_Setting, point.setting, f"the setting in {where}", advice)
        lengths = {len(values) for values in point.columns.values()} | {len(point.cases)}
        if (
            len(lengths) != 1
            or len(point.cases) < 2
            or not set(point.columns) <= set(Column.keys([point.columns]))
        ):
            raise FileFormatError(
                f"{where} has columns that do not fit its {len(point.cases)} records: {advice}"
            )
        return point

    @property
    def score(self) -> float:
        """See `SweepRow.score`."""
        return _score({key: float(np.mean(values)) for key, values in self.columns.items()})

    def row(self, seed: int = 0) -> SweepRow:
        """The means with their intervals, in per cent.

        Args:
            seed: draws the resamples.
        """
        rng = np.random.default_rng(seed)
        columns = {
            key: Interval.mean_of(values, rng, Column.of(key).bounds).scaled(Column.of(key).scale)
            for key, values in self.columns.items()
        }
        return SweepRow(self.method, self.setting, columns, len(self.cases))


@dataclass(frozen=True)
class _Setting:
    """The fields that figures and tables know by name; there may be others."""

    layer: int | None = None
    bound: float | None = None
    learning_rate: float | None = None


@dataclass(frozen=True)
class SweepRow:
    """One setting of an editor on one model.

    Attributes:
        method: what a table calls the editor.
        setting: the fields that were varied, and their values.
        columns: on the scale of Table 2, with 95 % intervals.
        n: records that were scored.
    """

    method: str
    setting: Mapping[str, Any]
    columns: Mapping[str, Interval]
    n: int

    @property
    def layer(self) -> int:
        """Which layer was edited; 0 where the layer was not varied."""
        return int(self.setting.get("layer") or 0)

    @property
    def bound(self) -> float | None:
        """ε, or None."""
        return self.setting.get("bound")

    @property
    def learning_rate(self) -> float | None:
        """Of the search; None where it was not varied."""
        return self.setting.get("learning_rate")

    @property
    def score(self) -> float:
        """The harmonic mean of ES, PS and NS, in per cent, which a setting is judged by: the paper names no rule."""
        return _score({key: one.mean / COMPOSITE.scale for key, one in self.columns.items()})


def _score(means: Mapping[str, float]) -> float:
    found = harmonic_mean(means)
    return 0.0 if found is None else found * COMPOSITE.scale


Judged = TypeVar("Judged", SweepPoint, SweepRow)


def best(rows: Sequence[Judged], method: str) -> Judged:
    """The setting of a method with the largest score, the first of them if there are several.

    Raises:
        InputError: the method is in no row.
    """
    own = [row for row in rows if row.method == method]
    if not own:
        raise InputError(
            f"the sweep has no row of {method}: it has {', '.join({row.method for row in rows}) or 'none'}"
        )
    return max(own, key=lambda row: row.score)


def _number(value: Any) -> str:
    return f"{value:g}" if isinstance(value, int | float) else str(value)


def read_sweep(path: Path, *, whole: bool = False) -> tuple[dict[str, Any], tuple[SweepPoint, ...]]:
    """The manifest of a sweep, and its settings in the order in which they were measured.

    Args:
        path: the folder.
        whole: an unfinished last line is an error.

    Raises:
        InputError: there is no such sweep, or it was condemned.
        FileFormatError: the manifest or a line is not as it was written.
    """
    manifest, contents = read_folder(
        Path(path), KIND, (SCHEMA,), TITLE, lines=LINES, advice=ADVICE, whole=whole
    )
    return manifest, tuple(SweepPoint.from_json(content, Path(path)) for content in contents)
