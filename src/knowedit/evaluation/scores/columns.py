"""What each column of Table 2 is: unit, direction, equation, and the scale it is printed on.

A new score of texts touches two files: its `Column` here, with `SCORES_VERSION` raised, and ``texts.py``, where
`TextScores` holds what it is computed from and `TextScorer.score` measures that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import inf
from typing import Final, Literal

from knowedit.errors import InputError

SCORES_VERSION: Final = 1
"""Raised by hand when the value of a column may change, or one is added to records that were scored without it.

It is part of a run's identity.
"""


@dataclass(frozen=True)
class Column:
    """One score.

    Attributes:
        key: its name in `RecordScores.columns`.
        name: in words.
        unit: of the value of one record.
        better: whether a higher or a lower value is better.
        source: the equation or section of the paper.
        scale: Table 2 prints the value times this.
        bounds: the smallest and largest value of one record.
        in_v1: whether the first version of the paper has it.
    """

    key: str
    name: str
    unit: str
    better: Literal["higher", "lower"]
    source: str
    scale: float = 100.0
    in_v1: bool = True
    bounds: tuple[float, float] = (-inf, inf)

    @classmethod
    def of(cls, key: str) -> Column:
        """A column of `COLUMNS` or `TOKEN_COLUMNS` by its key.

        Raises:
            InputError: there is none.
        """
        known = COLUMNS | TOKEN_COLUMNS
        if key not in known:
            raise InputError(f"there is no column {key!r}: expected some of {', '.join(known)}")
        return known[key]

    @staticmethod
    def keys(measured: Iterable[Iterable[str]]) -> tuple[str, ...]:
        """All of `COLUMNS`, and those of `TOKEN_COLUMNS` that are in one of the sets of keys that were measured."""
        found = {key for keys in measured for key in keys}
        return (*COLUMNS, *(key for key in TOKEN_COLUMNS if key in found))

    @property
    def scaled_unit(self) -> str:
        """The unit that the values have in Table 2."""
        if self.unit.startswith("share of ") and self.scale == 100:
            return f"% of {self.unit.removeprefix('share of ')}"
        return self.unit if self.scale == 1 else f"{self.unit} × {self.scale:g}"

    def heading(self, *, narrow: bool = False) -> str:
        """Key, better direction, and below them the name; one word of it where there is little room."""
        name = self.name.split()[0].strip(",:") if narrow else self.name.partition(":")[0]
        return f"{self.key} {'↑' if self.better == 'higher' else '↓'}\n{name}"


SHARE: Final = (0.0, 1.0)
GAP: Final = (-1.0, 1.0)

COLUMNS: Final = {
    column.key: column
    for column in (
        Column("ES", "efficacy, success", "share of prompts", "higher", "Eqn. 9", bounds=SHARE),
        Column("EM", "efficacy, magnitude", "difference of probabilities", "higher", "Eqn. 10", bounds=GAP),
        Column("PS", "generalisation, success", "share of prompts", "higher", "Eqn. 9", bounds=SHARE),
        Column(
            "PM", "generalisation, magnitude", "difference of probabilities", "higher", "Eqn. 10", bounds=GAP
        ),
        Column("NS", "specificity, success", "share of prompts", "higher", "Eqn. 9", bounds=SHARE),
        Column(
            "NM", "specificity, magnitude", "difference of probabilities", "higher", "Eqn. 10", bounds=GAP
        ),
        Column("GE", "fluency: entropy of generated n-grams", "bits", "higher", "Section 5.2"),
        Column("RS", "consistency with reference texts", "cosine", "higher", "Section 5.2", bounds=SHARE),
        Column("Essence", "perplexity of texts about the subject", "perplexity", "lower", "Section 5.2", 1.0),
    )
}
"""The nine columns, in the order of Table 2."""

TOKEN_COLUMNS: Final = {
    key: Column(key, name, "share of tokens", "higher", source, in_v1=False, bounds=SHARE)
    for key, name, source in (
        ("Acc", "accuracy: tokens of the new object after the request", "EasyEdit, rewrite_acc"),
        ("Loc", "locality: tokens as the unedited model predicts them", "KnowEdit, locality"),
        ("Port", "portability: tokens of the answers that follow", "KnowEdit, portability"),
    )
}
"""Columns that only records with locality or portability prompts, or without a true object, have; see `answers`."""

JUDGED: Final = ("ES", "PS", "NS")
"""The columns that a setting is judged by, through their harmonic mean; the paper names no rule."""

COMPOSITE: Final = Column(
    "S", "harmonic mean of ES, PS and NS", "share", "higher", "not in v1 of the paper", in_v1=False
)


def harmonic_mean(columns: Mapping[str, float | None]) -> float | None:
    """S, the harmonic mean of ES, PS and NS, from 0 to 1, higher is better. Version 1 of the paper has no S.

    It is a function of the means over records, not a mean of records: one record's ES is 0 or 1.

    Returns:
        0 if one of the three is 0, None if one is not measured.
    """
    values = [columns.get(key) for key in JUDGED]
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return None
    return len(known) / sum(1 / value for value in known) if min(known) > 0 else 0.0
