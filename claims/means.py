"""Means of columns over the records of finished runs, with resamples; and margins that are read off them.

All on the scale of Table 2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from claims.models import Missing
from knowedit.evaluation.runs.tables import F1_BELOW, F2_LOSS, UNEDITED
from knowedit.intervals import LEVEL, RESAMPLES, Interval

Array: TypeAlias = NDArray[np.float64]

FLUENT: Final = 5.0
"""How much GE may change, in per cent of that of the unedited model."""

Columns: TypeAlias = Mapping[tuple[str, str], Sequence[float]]
"""Method and column to one value a record."""


@dataclass(frozen=True, eq=False)
class Means:
    """Mean columns of all records, then of resamples.

    The resamples draw records, the same ones for every method, so that a difference between methods is one of pairs.

    Attributes:
        columns: method and column to the means, ``(1 + resamples,)``.
        n: records.
    """

    columns: Mapping[tuple[str, str], Array]
    n: int

    @classmethod
    def of(cls, columns: Columns, rng: np.random.Generator, resamples: int = RESAMPLES) -> Means:
        """The means of columns.

        Raises:
            Missing: fewer than two records.
        """
        n = len(next(iter(columns.values())))
        if n < 2:
            raise Missing(f"an interval needs at least 2 records and there are {n}: make evidence on more")
        draws = rng.multinomial(n, np.full(n, 1 / n), size=resamples)
        weights = np.vstack([np.ones(n), draws]) / n
        values = np.array([columns[key] for key in columns], dtype=np.float64)
        return cls(dict(zip(columns, values @ weights.T, strict=True)), n)

    def __call__(self, method: str, column: str) -> Array:
        """The means of one column.

        Raises:
            Missing: the records lack what it needs.
        """
        found = self.columns.get((method, column))
        if found is None:
            raise Missing(f"{column} is not measured for every record: give records with the texts it needs")
        return found

    def change(self, method: str, column: str) -> Array:
        """How far a method's mean is above that of the unedited model."""
        return self(method, column) - self(UNEDITED, column)

    def relative(self, method: str, column: str) -> Array:
        """The change in per cent of the unedited model's mean."""
        return 100 * self.change(method, column) / self(UNEDITED, column)

    def interval(self, quantity: Array) -> Interval:
        """The quantity of all records, with its percentile bootstrap interval."""
        low, high = np.quantile(quantity[1:], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        return Interval(float(quantity[0]), float(low), float(high), self.n, "bootstrap")

    def shown(self, column: str, methods: Sequence[str], digits: int = 1) -> str:
        """For instance ``PS: none 24.7, rome 88.6``."""
        values = ", ".join(f"{name} {self(name, column)[0]:.{digits}f}" for name in methods)
        return f"{column}: {values}"


def least(*margins: Array) -> Array:
    """The smallest margin, in each resample."""
    found: Array = np.minimum.reduce(margins)
    return found


def generalises(means: Means, method: str) -> Array:
    """How far PS is above the bound of F1."""
    return means(method, "PS") - F1_BELOW


def specific(means: Means, method: str) -> Array:
    """How far the loss of NS is below the bound of F2."""
    return F2_LOSS + means.change(method, "NS")
