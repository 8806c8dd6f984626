"""New keys in the metric of C⁻¹: whether they can be told apart, and how well."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import svdvals

from knowedit.errors import ShapeError, SingularError
from knowedit.linalg._arrays import EPSILON, Array, Host, dtype_name, require_float, require_ndim, to_host
from knowedit.linalg.factorised import RANK_TOLERANCE, FactorisedMoment
from knowedit.linalg.moments import Moment, factorised

SEPARATION = RANK_TOLERANCE**0.5
"""Keys of length one, in the metric of C⁻¹, that come closer to dependence than this count as dependent.

It is the smallest singular value of C^(-1/2) K with columns of length one: 4.7e-7. There, Λ has lost all but
four of float64's digits.
"""

_PARALLEL = 1e-6


@dataclass(frozen=True, eq=False)
class KeyGram:
    """`G = KᵀC⁻¹K` of e new keys: how far an insertion of one moves what another returns.

    G_ii is the divisor of an insertion of key i alone. G_ij / G_jj is the share of a change at key j that
    shows at key i; the two keys do not disturb each other when it is zero.

    Attributes:
        directions: (d_in, e), C⁻¹K.
        whitened: (d_in, e), A⁻¹K with C = A Aᵀ, so that G = whitenedᵀ whitened as well.
        wide: (e, e), G in long double.
        rank: the number of keys that are independent, given float64 and the dtype the keys came in.

    All arrays are NumPy on the host, and must not be changed.
    """

    directions: Host
    whitened: Host
    wide: NDArray[np.longdouble]
    rank: int

    @property
    def matrix(self) -> Host:
        """G, (e, e), float64. In units of squared keys over those of C, symmetric up to rounding."""
        return self.wide.astype(np.float64)

    @property
    def count(self) -> int:
        """The number e of keys."""
        return int(self.wide.shape[0])

    def condition(self) -> float:
        """The condition number of G scaled to a diagonal of ones, infinite when the keys are dependent.

        The length of a key does not matter to it, only the angles. Λ loses as many digits as it has.
        """
        if self.rank < self.count:
            return math.inf
        singular = svdvals(unit_columns(self.whitened), check_finite=False)
        return float(singular[0] / singular[-1]) ** 2

    def require_independent(self) -> None:
        """SingularError that gives the rank, unless the keys are independent."""
        if self.rank == self.count:
            return
        d_in, e = self.directions.shape
        raise SingularError(
            f"the keys have rank {self.rank} of {e} (length {d_in}): {e - self.rank} of them depend on the "
            f"others{_parallel(self.whitened)}; expected independent keys, since dependent ones repeat a "
            f"pair or ask for conflicting values; drop such keys, or pass ridge= to fit all values at best"
        )


def key_gram(K_new: Array, C: Moment) -> KeyGram:
    """The Gram matrix of keys in the metric of C⁻¹, with its rank and condition.

    Args:
        K_new: (d_in, e), one key a column, any floating dtype.
        C: K Kᵀ, (d_in, d_in), in the library of K_new; or a `SecondMoment` or `FactorisedMoment`.

    Raises:
        ShapeError: shapes that do not fit, no keys, or dtypes that are not floating point.
        InputError: arrays of different libraries or devices.
        NumericalError: NaN or infinity, C not symmetric or indefinite.
        SingularError: C is not of full rank. Dependent keys are no error here.
    """
    require_keys(K_new=K_new)
    factor = factorised(C, int(K_new.shape[0]), K_new=K_new)
    return gram_on_host(to_host("K_new", K_new), factor, EPSILON[dtype_name(K_new.dtype)])


def require_keys(**keys: Array) -> None:
    """ShapeError unless the array is (d_in, e), floating, with at least one column."""
    for name, K in keys.items():
        require_float(**{name: K})
        require_ndim(name, K, ("d_in", "e"))
        if not K.shape[0] or not K.shape[1]:
            raise ShapeError(
                f"{name} has shape {tuple(K.shape)}; expected at least one key, (d_in, e) with one key a "
                f"column; pass a column for each pair"
            )


def gram_on_host(K: Host, factor: FactorisedMoment, resolution: float) -> KeyGram:
    """`key_gram` for keys that were checked; `resolution` is the epsilon of the dtype they came in."""
    directions = factor.solve_on_host(K)
    whitened = factor.whiten_on_host(K)
    wide = K.T.astype(np.longdouble) @ directions.astype(np.longdouble)
    rank = independent(whitened, SEPARATION)
    if resolution > EPSILON["float64"]:
        # Keys that were dependent before each was rounded: every column is off by half an epsilon at most.
        rank = min(rank, independent((K.T / factor.scale).T, resolution * math.sqrt(K.shape[1])))
    return KeyGram(directions, whitened, wide, rank)


def independent(columns: Host, tolerance: float) -> int:
    """The number of singular values above `tolerance`, once every column has length one."""
    singular = svdvals(unit_columns(columns), check_finite=False)
    return int((singular > tolerance * max(1.0, singular[0])).sum())


def unit_columns(columns: Host) -> Host:
    """Every column divided by its length, whatever its scale; a zero column stays zero."""
    largest = np.abs(columns).max(axis=0)
    columns = columns / np.where(largest > 0, largest, 1.0)
    lengths = np.linalg.norm(columns, axis=0)
    return np.asarray(columns / np.where(lengths > 0, lengths, 1.0))


def _parallel(whitened: Host) -> str:
    """The first two columns that differ by a factor only, in words; empty when there are none."""
    unit: Any = unit_columns(whitened)
    cosines = np.triu(np.abs(unit.T @ unit), 1)
    if cosines.size and cosines.max() > 1 - _PARALLEL:
        first, second = np.unravel_index(int(cosines.argmax()), cosines.shape)
        return f", keys {first} and {second} being the same up to a factor"
    return ""
