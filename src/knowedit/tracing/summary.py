"""What an average needs of one fact's trace: a few numbers, and none of the draws."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from knowedit.errors import FileFormatError, NumericalError
from knowedit.reading import checked
from knowedit.tracing.prompts import Role
from knowedit.tracing.trace import Trace


@dataclass(frozen=True, eq=False)
class FactSummary:
    """One fact's trace by role.

    Attributes:
        restored: for each role that occurs, the restored probability ``(layers,)``, float64: the mean over the
            draws, and over the tokens of that role where there are several.
        clean: the probability without corruption.
        corrupted: the corrupted probability, the mean over the draws.
        best_last_subject: the largest restored probability of any layer at the last subject token.
        best_anywhere: that of any layer at any token.
        predicted: whether the model predicts the answer.
    """

    restored: Mapping[Role, NDArray[np.float64]]
    clean: float
    corrupted: float
    best_last_subject: float
    best_anywhere: float
    predicted: bool

    @classmethod
    def of(cls, trace: Trace) -> FactSummary:
        """The summary of a trace.

        Raises:
            NumericalError: a probability that is NaN or infinite.
        """
        restored = trace.restored.double().numpy()
        if not np.isfinite(restored).all() or not math.isfinite(trace.clean + trace.corrupted):
            raise NumericalError(
                f"the trace of {trace.text!r} has a probability that is NaN or infinite: look at the model's "
                "weights and its number format"
            )
        tokens = {role: trace.tokens_with(role) for role in Role}
        return cls(
            restored={role: restored[found].mean(axis=0) for role, found in tokens.items() if found},
            clean=float(trace.clean),
            corrupted=trace.corrupted,
            best_last_subject=float(restored[trace.subject[1] - 1].max()),
            best_anywhere=float(restored.max()),
            predicted=trace.predicted,
        )

    @property
    def total_effect(self) -> float:
        """Clean minus corrupted probability."""
        return self.clean - self.corrupted

    def to_json(self) -> dict[str, Any]:
        """As JSON; every number comes back as it was."""
        rows = {role.value: [float(x) for x in values] for role, values in self.restored.items()}
        return vars(self) | {"restored": rows}

    @classmethod
    def from_json(cls, entries: Mapping[str, Any]) -> FactSummary:
        """What `to_json` wrote; version 0.1.0 called the restored probabilities ``effects``.

        Raises:
            FileFormatError: something else.
        """
        renamed = {"restored" if name == "effects" else name: value for name, value in entries.items()}
        stored = checked(_Stored, renamed, "the line of a fact", "trace it again")
        rows = {role: np.array(row, dtype=np.float64) for role, row in stored.restored.items()}
        if len({len(row) for row in rows.values()}) != 1 or not len(next(iter(rows.values()))):
            raise FileFormatError(
                "the line of a fact has roles without layers or with different ones: trace it again"
            )
        return cls(**(vars(stored) | {"restored": rows}))


@dataclass(frozen=True)
class _Stored:
    """A summary as JSON has it."""

    restored: dict[Role, tuple[float, ...]]
    clean: float
    corrupted: float
    best_last_subject: float
    best_anywhere: float
    predicted: bool
