"""New keys in the metric of C⁻¹: whether they can be told apart, and how well."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import qr, svdvals

from knowedit.errors import ShapeError, SingularError
from knowedit.linalg._arrays import EPSILON, Array, Host, epsilon, require_arrays, require_shape, to_host
from knowedit.linalg.factorised import RANK_TOLERANCE, FactorisedMoment
from knowedit.linalg.second_moment import Moment, SecondMoment

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

    def __repr__(self) -> str:
        return f"KeyGram({self.count} keys of rank {self.rank})"

    @classmethod
    def of(cls, K: Host, C: Moment, resolution: float, **like: Array) -> KeyGram:
        """`key_gram` for keys that were checked.

        Args:
            K: (d_in, e).
            C: K Kᵀ, in one of the three ways.
            resolution: the epsilon of the dtype that the keys came in.
            like: one array by its name, whose library and device a matrix C has to share.
        """
        factor = _factorised(C, len(K), **like)
        directions, whitened = factor.solve_on_host(K), factor.whiten_on_host(K)
        wide = K.T.astype(np.longdouble) @ directions.astype(np.longdouble)
        rank = _independent(whitened, SEPARATION)
        if resolution > EPSILON["float64"]:
            # Keys that were dependent before each was rounded: every column is off by half an epsilon at most.
            rank = min(rank, _independent((K.T / factor.scale).T, resolution * math.sqrt(K.shape[1])))
        return cls(directions, whitened, wide, rank)

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
        singular = svdvals(_unit_columns(self.whitened), check_finite=False)
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

    def triangle(self, ridge: float, scale: Host) -> Host:
        """T, (e, e), upper triangular, with TᵀT = (G + ridge I) / scale / scaleᵀ, by QR: no condition is squared.

        Raises:
            SingularError: the keys are dependent and the ridge, where there is one, is too small to tell.
        """
        rows = np.vstack([self.whitened, ridge**0.5 * np.eye(self.count)]) / scale
        found = np.asarray(qr(rows, mode="r", check_finite=False)[0])[: self.count]
        if ridge and _independent(found, SEPARATION) < self.count:
            raise SingularError(
                f"the keys have rank {self.rank} of {self.count} and ridge {ridge:.2g} is too small beside "
                f"kᵀC⁻¹k = {float(self.wide.diagonal().max()):.2g} to tell them apart; expected a share of at "
                f"least {SEPARATION**2:.1g}; raise ridge or drop the dependent keys"
            )
        return found


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
    require_arrays(K_new=K_new)
    require_shape("K_new", K_new, ("d_in", "e"), "keys are columns: pass one for each pair", filled=True)
    return KeyGram.of(to_host("K_new", K_new), C, epsilon(K_new.dtype), K_new=K_new)


def _independent(columns: Host, tolerance: float) -> int:
    """The number of singular values above `tolerance`, once every column has length one."""
    singular = svdvals(_unit_columns(columns), check_finite=False)
    return int((singular > tolerance * max(1.0, singular[0])).sum())


def _unit_columns(columns: Host) -> Host:
    """Every column divided by its length, whatever its scale; a zero column stays zero."""
    largest = np.abs(columns).max(axis=0)
    columns = columns / np.where(largest > 0, largest, 1.0)
    lengths = np.linalg.norm(columns, axis=0)
    return np.asarray(columns / np.where(lengths > 0, lengths, 1.0))


def _parallel(whitened: Host) -> str:
    """The first two columns that differ by a factor only, in words; empty when there are none."""
    unit: Any = _unit_columns(whitened)
    cosines = np.triu(np.abs(unit.T @ unit), 1)
    if cosines.size and cosines.max() > 1 - _PARALLEL:
        first, second = np.unravel_index(int(cosines.argmax()), cosines.shape)
        return f", keys {first} and {second} being the same up to a factor"
    return ""


def _factorised(C: Moment, d_in: int, **like: Array) -> FactorisedMoment:
    """C with its factor, checked to be for keys of length d_in and to lie where `like` lies.

    Args:
        C: (d_in, d_in) in one of the three ways.
        d_in: the length of a key.
        like: one array by its name; only a matrix C has to share its library and device.

    Raises:
        ShapeError: C is for keys of another length, or not floating point.
        InputError: C belongs to another library or device than `like`.
        NumericalError: C is not finite, not symmetric or indefinite.
        SingularError: C is not of full rank.
    """
    if isinstance(C, FactorisedMoment | SecondMoment):
        if C.dim != d_in:
            raise ShapeError(
                f"C is for keys of length {C.dim}; expected {d_in}, the columns of W; "
                f"use the moment of the layer and model that W comes from"
            )
        return C if isinstance(C, FactorisedMoment) else C.factorise()
    require_arrays(**like, C=C)
    require_shape("C", C, (d_in, d_in), "C = K Kᵀ must be square with the columns of W")
    return FactorisedMoment.from_matrix(C)
