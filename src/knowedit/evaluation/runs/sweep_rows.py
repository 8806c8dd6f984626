"""What a sweep found at one setting, and which setting is the best (Appendix D, Figures 13 to 15)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from knowedit.errors import InputError
from knowedit.evaluation.scores.columns import COMPOSITE, harmonic_mean
from knowedit.intervals import Interval


@dataclass(frozen=True)
class SweepRow:
    """One setting of an editor on one model.

    Attributes:
        method: what a table calls the editor, for instance ``FT+L``.
        layer: which it edits.
        bound: ε, or None for no bound.
        learning_rate: of its search.
        columns: on the scale of Table 2, with 95 % intervals.
        n: records that were scored.
    """

    method: str
    layer: int
    bound: float | None
    learning_rate: float | None
    columns: Mapping[str, Interval]
    n: int

    @property
    def score(self) -> float:
        """The harmonic mean of ES, PS and NS, in per cent, which a setting is judged by: the paper names no rule."""
        found = harmonic_mean({key: one.mean / COMPOSITE.scale for key, one in self.columns.items()})
        return 0.0 if found is None else found * COMPOSITE.scale

    @property
    def setting(self) -> dict[str, Any]:
        """Layer, ε and learning rate."""
        return {"layer": self.layer, "bound": self.bound, "learning_rate": self.learning_rate}


def best(rows: Sequence[SweepRow], method: str) -> SweepRow:
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
