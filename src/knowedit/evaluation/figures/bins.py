"""Bins that all rows of a column share."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

COUNT: Final = 30
WIDE: Final = 5.0
"""A perplexity's axis is logarithmic if its largest value is more than this many times the smallest."""


class Bins(NamedTuple):
    """Where the bins of an axis begin and end.

    Attributes:
        edges: ``(COUNT + 1,)``, increasing.
        logarithmic: whether their ratios are even and not their differences.
    """

    edges: NDArray[np.float64]
    logarithmic: bool

    @classmethod
    def of(cls, values: NDArray[np.float64], *, ratios: bool) -> Bins:
        """Bins from the least to the largest value; values that are all the same are in the middle.

        Args:
            values: of all rows, finite.
            ratios: whether ratios say more than differences, as for a perplexity.
        """
        low, high = float(values.min()), float(values.max())
        if ratios and high > WIDE * low > 0:
            return cls(np.geomspace(low / 1.001, high * 1.001, COUNT + 1), logarithmic=True)
        room = 0.0 if low < high else 0.01 * max(1.0, abs(low))
        return cls(np.linspace(low - room, high + room, COUNT + 1), logarithmic=False)

    def percent(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """How many of a hundred values are in each bin; the bins hold all of them."""
        counts: NDArray[np.float64] = np.histogram(values, self.edges)[0] * (100 / len(values))
        return counts

    def round_numbers(self) -> list[float]:
        """No more than four round numbers for a logarithmic axis."""
        steps = [step * 10.0**power for power in range(-3, 12) for step in (1, 2, 5)]
        found = [step for step in steps if self.edges[0] <= step <= self.edges[-1]]
        return found[:: -(-len(found) // 4)]
