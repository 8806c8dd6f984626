"""Means over records with 95 % intervals, and differences between editors on the same records."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final, Literal

import numpy as np

from knowedit.errors import InputError
from knowedit.evaluation.scores.columns import Column
from knowedit.evaluation.scores.record_scores import RecordScores
from knowedit.intervals import Interval

Method = Literal["bootstrap", "normal"]

_METHODS: Final[
    dict[str, Callable[[Sequence[float], np.random.Generator, tuple[float, float]], Interval]]
] = {
    "bootstrap": Interval.mean_of,
    "normal": lambda values, *_: Interval.normal(values),
}


def summarise(
    scores: Sequence[RecordScores],
    rng: np.random.Generator,
    *,
    minus: Sequence[RecordScores] | None = None,
    method: Method = "bootstrap",
) -> dict[str, Interval]:
    """The mean of each measured column, in the unit of one record, with its interval; records are the unit drawn.

    The order of the records changes nothing, not even the last digit. A column that no record has is left out;
    one that only some have counts those, see `Interval.n`. One single value has an interval without ends.

    Args:
        scores: one a record.
        rng: draws the resamples; each column has a stream of its own.
        minus: the same records in any order, for instance before an edit: the mean is that of the differences
            ``scores − minus``, records drawn in pairs, in each column that both have.
        method: ``bootstrap`` (percentile, where there are enough records for it: see `Interval.mean_of`) or ``normal``
            (1.96 standard errors).

    Raises:
        InputError: a method of another name; or in pairs, records that are not the same ones, or that have no
            number or the same number twice.
    """
    if minus is None:
        return _intervals([[one] for one in scores], lambda values: values[0], rng, method, paired=False)
    first, second = _by_case(scores), _by_case(minus)
    if first.keys() != second.keys():
        raise InputError(
            f"{len(first.keys() ^ second.keys())} records are on one side only: pairs need the same records in both"
        )
    pairs = [[first[case], second[case]] for case in first]
    return _intervals(pairs, lambda values: values[0] - values[1], rng, method, paired=True)


def _intervals(
    groups: Iterable[Sequence[RecordScores]],
    of: Callable[[list[float]], float],
    rng: np.random.Generator,
    method: str,
    *,
    paired: bool,
) -> dict[str, Interval]:
    if method not in _METHODS:
        raise InputError(f"the method is {method!r}: expected {' or '.join(_METHODS)}")
    rows = [[one.columns for one in group] for group in groups]
    found = {}
    keys = Column.keys(one for row in rows for one in row)
    # Those of Table 2 come first, so that what else is measured changes none of their streams.
    for key, stream in zip(keys, rng.spawn(len(keys)), strict=True):
        measured = [known for row in rows if (known := _known([one.get(key) for one in row])) is not None]
        if values := sorted(map(of, measured)):
            low, high = Column.of(key).bounds
            bounds = (low - high, high - low) if paired else (low, high)
            enough = len(values) > 1
            found[key] = _METHODS[method](values, stream, bounds) if enough else _single(values[0], method)
    return found


def _known(values: Sequence[float | None]) -> list[float] | None:
    known = [value for value in values if value is not None]
    return known if len(known) == len(values) else None


def _single(value: float, method: str) -> Interval:
    return Interval(value, -np.inf, np.inf, 1, method)


def _by_case(scores: Sequence[RecordScores]) -> dict[int | None, RecordScores]:
    found = {one.case_id: one for one in scores}
    if len(found) < len(scores) or None in found:
        raise InputError("two records have the same number, or one has none: pairs are found by case_id")
    return found
