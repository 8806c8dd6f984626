"""95 % intervals for the scores of Table 2: for shares, for means over facts or records, and for differences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from knowedit.errors import InputError

LEVEL = 0.95
RESAMPLES = 10_000
BATCH = 10_000_000
FEW = 35
"""Below this many values the percentile bootstrap is not used: it draws too narrow an interval from a small sample.

T. Hesterberg, "What teachers should know about the bootstrap", The American Statistician 69 (2015) 371-386: it is
less accurate than Student's interval for small samples and more accurate for larger ones; for his skewed example the
two meet at about this size.
"""
ALIKE = 1e-9
"""Values that differ by no more are the same, but for rounding."""

Values: TypeAlias = "Sequence[float] | NDArray[np.float64]"


@dataclass(frozen=True)
class Interval:
    """A mean with the interval that covers the true one in 95 % of samples.

    Attributes:
        mean: over the sample.
        low: the interval's lower end.
        high: its upper end.
        n: the sample's size.
        method: how the ends were found; no part of what makes two intervals equal.
    """

    mean: float
    low: float
    high: float
    n: int
    method: str = field(default="", compare=False)

    def scaled(self, factor: float) -> Interval:
        """The same in another unit: ``share.scaled(100)`` is in per cent.

        Raises:
            InputError: a factor that is not positive, which would turn the interval round.
        """
        if not factor > 0:
            raise InputError(f"the factor is {factor}: a change of unit needs a positive one")
        return Interval(self.mean * factor, self.low * factor, self.high * factor, self.n, self.method)

    @classmethod
    def wilson(cls, successes: int, n: int) -> Interval:
        """Wilson's score interval of a share; it stays inside [0, 1] and is not empty at 0 or n successes.

        Args:
            successes: how many of the `n` trials succeeded.
            n: independent trials, each a success or not.

        Raises:
            InputError: no trials, or more successes than trials.
        """
        if n < 1 or not 0 <= successes <= n:
            raise InputError(
                f"found {successes} successes in {n} trials: expected 0 to n successes, n at least 1"
            )
        found = stats.binomtest(int(successes), int(n)).proportion_ci(LEVEL, method="wilson")
        return cls(successes / n, float(found.low), float(found.high), int(n), "wilson")

    @classmethod
    def mean_of(
        cls,
        values: Values,
        rng: np.random.Generator,
        bounds: tuple[float, float] = (-np.inf, np.inf),
    ) -> Interval:
        """The interval of a mean that suits the sample; it never leaves the bounds.

        `bounded`, which is Wilson's for single trials, where each value is a bound or all are equal; else Student's,
        cut off at the bounds, of fewer than `FEW` values, and the percentile bootstrap of more.

        Args:
            values: at least two, independent of each other, within the bounds.
            rng: draws the resamples of a bootstrap.
            bounds: the smallest and largest value that could have been measured.

        Raises:
            InputError: as `Interval.bootstrap`.
        """
        sample = _sample(values)
        alike = np.ptp(sample) <= ALIKE or np.isin(sample, bounds).all()
        if alike and np.isfinite(bounds).all():
            mean, low, high = (float(part) for part in bounded(sample, *bounds))
            return cls(mean, low, high, len(sample), "wilson")
        if len(sample) >= FEW:
            return cls.bootstrap(sample, rng)
        mean, low, high = (float(part) for part in student(sample))
        return cls(mean, max(low, bounds[0]), min(high, bounds[1]), len(sample), "student")

    @classmethod
    def student(cls, values: Values) -> Interval:
        """Student's t interval of a mean, see the function `student`.

        Raises:
            InputError: no value.
        """
        sample = np.asarray(values, dtype=np.float64)
        mean, low, high = (float(part) for part in student(sample))
        return cls(mean, low, high, len(sample), "student")

    @classmethod
    def bootstrap(cls, values: Values, rng: np.random.Generator, *, minus: Values | None = None) -> Interval:
        """The percentile bootstrap interval of a mean; the unit that is drawn is a value, so one a record.

        Percentile and not SciPy's default BCa: BCa divides by the spread of the sample, so that it is NaN when
        all values are equal, which a score at 100 % makes an everyday case. The percentile
        interval then is that one point; for a share of single trials use `Interval.wilson`.

        Args:
            values: at least two, independent of each other.
            rng: draws the resamples; the same state gives the same interval.
            minus: the same records in the same order: the interval is that of the mean difference ``values − minus``,
                records drawn in pairs. What makes a record easy makes it so on both sides, so the differences vary
                less than either.

        Raises:
            InputError: fewer than two values, or one that is not finite; or lists of different lengths.
        """
        sample = _sample(values if minus is None else _differences(values, minus))
        found = stats.bootstrap(
            (sample,),
            np.mean,
            n_resamples=RESAMPLES,
            confidence_level=LEVEL,
            method="percentile",
            # All resamples at once would be gigabytes for the records of the paper.
            batch=max(1, BATCH // len(sample)),
            random_state=rng,
        ).confidence_interval
        return cls(float(sample.mean()), float(found.low), float(found.high), len(sample), "bootstrap")

    @classmethod
    def normal(cls, values: Values) -> Interval:
        """The mean ± 1.96 standard errors (of the sample's n − 1), over the values that there are.

        The released code's tables divide by the number of records asked for instead of those found, and its summary
        prints the standard deviation behind "±".

        Args:
            values: at least two, independent of each other.

        Raises:
            InputError: as `Interval.bootstrap`.
        """
        sample = _sample(values)
        mean = float(sample.mean())
        half = float(stats.norm.ppf((1 + LEVEL) / 2) * sample.std(ddof=1) / len(sample) ** 0.5)
        return cls(mean, mean - half, mean + half, len(sample), "normal")


def student(
    values: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Mean and Student's t interval of each column, ``mean ± t(0.975, n - 1) · s / √n``.

    It needs no random numbers, and many columns cost no more than one. It does not know that a probability is
    between 0 and 1.

    Args:
        values: ``(n, ...)``, n independent samples, at least one.

    Returns:
        Mean, low and high, each of the shape of one sample. One sample has no interval: low and high are NaN.

    Raises:
        InputError: no sample.
    """
    n = len(values)
    if not n:
        raise InputError("found no values: a mean needs at least one")
    mean = values.mean(axis=0)
    if n == 1:
        return mean, np.full_like(mean, np.nan), np.full_like(mean, np.nan)
    half = stats.t.ppf((1 + LEVEL) / 2, n - 1) * values.std(axis=0, ddof=1) / np.sqrt(n)
    return mean, mean - half, mean + half


def bounded(
    values: NDArray[np.float64], smallest: float = 0.0, largest: float = 1.0
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Mean and an interval of each column that stays within bounds and is not empty, however few or alike the values.

    Wilson's score interval (Journal of the American Statistical Association 22, 1927) with the mean in the place of
    the share: of all quantities between 0 and 1 with the mean μ, a trial has the largest variance, μ (1 − μ) (Bhatia
    and Davis, The American Mathematical Monthly 107, 2000), so it is wide enough for any of them. For shares of single
    trials it is Wilson's own.

    Args:
        values: ``(n, ...)``, n independent samples, at least one.
        smallest: that could have been measured.
        largest: that could have been measured.

    Returns:
        Mean, low and high, each of the shape of one sample. One sample has no interval: low and high are NaN.

    Raises:
        InputError: no sample.
    """
    mean, low, high = student(values)
    n = len(values)
    if n == 1:
        return mean, low, high
    z, span = stats.norm.ppf((1 + LEVEL) / 2), largest - smallest
    share = np.clip((mean - smallest) / span, 0.0, 1.0)
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * np.sqrt(share * (1 - share) / n + (z / (2 * n)) ** 2) / (1 + z**2 / n)
    low, high = (smallest + span * np.clip(end, 0.0, 1.0) for end in (centre - half, centre + half))
    return mean, np.minimum(low, mean), np.maximum(high, mean)


def of_probabilities(
    values: NDArray[np.float64], smallest: float = 0.0
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Mean and interval of each column, for averages of many probabilities at once, without random numbers.

    Student's, cut off at the bounds; `bounded` where all are alike.

    Args:
        values: ``(n, ...)``, n independent samples, at least one.
        smallest: 0, or −1 for differences of probabilities.

    Raises:
        InputError: no sample.
    """
    mean, low, high = student(values)
    wide = bounded(values, smallest)
    alike = np.ptp(values, axis=0) <= ALIKE
    low, high = np.maximum(low, smallest), np.minimum(high, 1.0)
    return mean, np.where(alike, wide[1], low), np.where(alike, wide[2], high)


def _sample(values: Values) -> NDArray[np.float64]:
    sample = np.asarray(values, dtype=np.float64)
    if sample.ndim != 1 or len(sample) < 2:
        raise InputError(f"found values of shape {sample.shape}: an interval needs a list of at least two")
    if not np.isfinite(sample).all():
        raise InputError("a value is NaN or infinite: find out which record it comes from")
    return sample


def _differences(after: Values, before: Values) -> NDArray[np.float64]:
    first, second = np.asarray(after, dtype=np.float64), np.asarray(before, dtype=np.float64)
    if first.shape != second.shape:
        raise InputError(
            f"found values of shape {first.shape} and {second.shape}: pairs need the same records in both"
        )
    difference: NDArray[np.float64] = first - second
    return difference
