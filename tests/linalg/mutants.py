"""Broken implementations, each wrong in one way that somebody has shipped or could ship."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from knowedit.linalg import LowRank


@dataclass(frozen=True)
class Dense:
    """A change that is not a product of two columns, with the attributes of one that is."""

    change: Any
    left: Any
    right: Any

    def materialise(self) -> Any:
        return self.change


def _parts(W, k, v, C):
    u = np.linalg.solve(C, k)
    return u, v - W @ k, k @ u


def _low_rank(W, left, right):
    return LowRank(left[:, None], right[:, None], W.dtype)


def textbook(W, k, v, C):
    """Not broken: the formula in plain float64, without refinement."""
    u, gap, divisor = _parts(W, k, v, C)
    return _low_rank(W, gap / divisor, u)


def wrong_sign(W, k, v, C):
    u, gap, divisor = _parts(W, k, v, C)
    return _low_rank(W, -gap / divisor, u)


def missing_divisor(W, k, v, C):
    u, gap, _ = _parts(W, k, v, C)
    return _low_rank(W, gap, u)


def value_instead_of_gap(W, k, v, C):
    """Eqn. 5 read to the letter: v in place of Λ, without what W returns already."""
    u, _, divisor = _parts(W, k, v, C)
    return _low_rank(W, v / divisor, u)


def moment_instead_of_inverse(W, k, v, C):
    u = C @ k
    return _low_rank(W, (v - W @ k) / (k @ u), u)


def no_moment(W, k, v, C):
    """C dropped, as FastEdit does."""
    return _low_rank(W, (v - W @ k) / (k @ k), k)


def two_keys(W, k, v, C):
    """One key in C⁻¹k and another in the constraint, as the released ROME has."""
    u, other = np.linalg.solve(C, k), 1.1 * k + 0.1 * np.roll(k, 1)
    return _low_rank(W, (v - W @ other) / (other @ u), u)


def unit_direction(W, k, v, C):
    """C⁻¹k scaled to length one, the divisor not."""
    u, gap, divisor = _parts(W, k, v, C)
    return _low_rank(W, gap / divisor, u / np.linalg.norm(u))


def absolute_damping(W, k, v, C):
    return textbook(W, k, v, C + 0.1 * np.eye(len(k)))


def inverse_in_float32(W, k, v, C):
    """The explicit float32 inverse of the released code."""
    u = np.linalg.inv(C.astype(np.float32)).astype(np.float64) @ k
    return _low_rank(W, (v - W @ k) / (k @ u), u)


def full_rank(W, k, v, C):
    """Feasible, but with a change of other directions added."""
    u, gap, divisor = _parts(W, k, v, C)
    extra = 1e-3 * np.sin(np.arange(W.size, dtype=np.float64)).reshape(W.shape)
    extra -= np.outer(extra @ k, k) / (k @ k)
    left, right = (gap / divisor)[:, None], u[:, None]
    return Dense((left @ right.T + extra).astype(W.dtype), left, right)


def writes_into_weight(W, k, v, C):
    update = textbook(W, k, v, C)
    W += update.materialise()
    return update


def forgets_dtype(W, k, v, C):
    return replace(textbook(W, k, v, C), dtype=np.dtype(np.float64))


INSERT_MUTANTS = {
    "wrong_sign": (wrong_sign, "feasible block_system second_insertion"),
    "missing_divisor": (missing_divisor, "feasible block_system price scale_free second_insertion"),
    "value_instead_of_gap": (value_instead_of_gap, "feasible block_system price second_insertion idempotent"),
    "moment_instead_of_inverse": (
        moment_instead_of_inverse,
        "stationary multiplier block_system optimal least_change price second_insertion solves_accurately",
    ),
    "no_moment": (
        no_moment,
        "stationary multiplier block_system optimal least_change price second_insertion solves_accurately",
    ),
    "two_keys": (two_keys, "feasible block_system price second_insertion idempotent"),
    "unit_direction": (unit_direction, "feasible multiplier block_system price scale_free second_insertion"),
    "absolute_damping": (
        absolute_damping,
        "stationary multiplier block_system optimal least_change price scale_free second_insertion",
    ),
    "inverse_in_float32": (
        inverse_in_float32,
        "stationary multiplier block_system optimal least_change solves_accurately",
    ),
    "full_rank": (
        full_rank,
        "stationary multiplier block_system optimal least_change price rank_one idempotent",
    ),
    "writes_into_weight": (writes_into_weight, "arguments_untouched feasible block_system"),
    "forgets_dtype": (forgets_dtype, "dtype_kept"),
    "textbook": (textbook, "solves_accurately"),
}
"""Mutant, and the laws that have to notice it (others may as well)."""


@dataclass(frozen=True)
class PlainMoment:
    """Not broken: a sum and a count, the stem of the mutants below."""

    raw_sum: Any
    count: int = 0

    @property
    def matrix(self):
        return self.raw_sum / self.count

    def update(self, keys):
        return type(self)(self.raw_sum + keys.T @ keys, self.count + len(keys))

    def merge(self, other):
        return type(self)(self.raw_sum + other.raw_sum, self.count + other.count)

    def __add__(self, other):
        return self.merge(other)

    def damped(self, lam):
        return self._shifted(lam * np.trace(self.raw_sum) / len(self.raw_sum))

    def _shifted(self, ridge):
        return type(self)(self.raw_sum + ridge * np.eye(len(self.raw_sum)), self.count)


class NotDivided(PlainMoment):
    """matrix is the sum, not the mean."""

    @property
    def matrix(self):
        return self.raw_sum


class Centred(PlainMoment):
    """The covariance: the mean of the batch taken off first."""

    def update(self, keys):
        return super().update(keys - keys.mean(axis=0))


class MeanOfMeans(PlainMoment):
    """A merge that averages two means without their counts."""

    def merge(self, other):
        count = self.count + other.count
        means = [m.raw_sum / max(m.count, 1) for m in (self, other)]
        return type(self)((means[0] + means[1]) / 2 * count, count)


class ForgetsCount(PlainMoment):
    """A merge that keeps the count of one side."""

    def merge(self, other):
        return type(self)(self.raw_sum + other.raw_sum, self.count)


class SinglePrecision(PlainMoment):
    """Sums in float32."""

    def update(self, keys):
        narrow = keys.astype(np.float32)
        return type(self)((self.raw_sum + narrow.T @ narrow).astype(np.float64), self.count + len(keys))


class Forgetting(PlainMoment):
    """An exponential average: later keys weigh more."""

    def merge(self, other):
        return type(self)(0.999 * self.raw_sum + other.raw_sum, self.count + other.count)


class InPlace(PlainMoment):
    """An update that writes into the sum it was given."""

    def update(self, keys):
        total = self.raw_sum
        total += keys.T @ keys
        return type(self)(total, self.count + len(keys))


class AbsoluteDamping(PlainMoment):
    """λ itself on the diagonal of the mean."""

    def damped(self, lam):
        return self._shifted(lam * self.count)


class DampedMean(PlainMoment):
    """The share of the mean's diagonal added to the sum: less damping the more keys there are."""

    def damped(self, lam):
        return self._shifted(lam * np.trace(self.matrix) / len(self.raw_sum))


class DampedByTrace(PlainMoment):
    """The trace, and not its share of one direction."""

    def damped(self, lam):
        return self._shifted(lam * np.trace(self.raw_sum))


class DampedDiagonal(PlainMoment):
    """Every diagonal entry raised by its own share, as Marquardt does."""

    def damped(self, lam):
        return type(self)(self.raw_sum + lam * np.diag(self.raw_sum.diagonal()), self.count)


class DampingCounts(PlainMoment):
    """Damping that counts as one more key."""

    def damped(self, lam):
        return type(self)(super().damped(lam).raw_sum, self.count + 1)


MOMENT_MUTANTS = {
    "not_divided": (NotDivided, "mean_of_outer_products"),
    "centred": (Centred, "mean_of_outer_products merge_in_any_order"),
    "mean_of_means": (MeanOfMeans, "merge_in_any_order"),
    "forgets_count": (ForgetsCount, "merge_commutes merge_in_any_order"),
    "single_precision": (SinglePrecision, "mean_of_outer_products merge_in_any_order"),
    "forgetting": (Forgetting, "merge_commutes merge_in_any_order"),
    "in_place": (InPlace, "update_is_a_value merge_in_any_order"),
    "absolute_damping": (AbsoluteDamping, "damping damping_trades"),
    "damped_mean": (DampedMean, "damping damping_trades"),
    "damped_by_trace": (DampedByTrace, "damping damping_trades"),
    "damped_diagonal": (DampedDiagonal, "damping damping_trades"),
    "damping_counts": (DampingCounts, "damping"),
}
"""Mutant, and the laws that have to notice it (others may as well)."""
