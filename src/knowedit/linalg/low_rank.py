"""A change of a weight matrix kept as two thin factors."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any, NamedTuple

import array_api_compat
import numpy as np

from knowedit.errors import InputError, ShapeError
from knowedit.linalg._arrays import (
    Array,
    as_float64,
    epsilon,
    require_arrays,
    require_shape,
    rounded,
    to_host,
)
from knowedit.linalg.truncation import kept


@dataclass(frozen=True, eq=False)
class LowRank:
    """The matrix `left @ right.T`, of shape (d_out, d_in), never formed unless asked for.

    Attributes:
        left: (d_out, r), float64. For one inserted pair this is Λ of Eqn. 17.
        right: (d_in, r), float64. For one inserted pair this is C⁻¹k.
        dtype: the dtype of the weight that the change belongs to, which `materialise` returns.

    Raises:
        ShapeError: the factors are not two-dimensional, differ in r, or are not floating point.
        InputError: the factors come from two libraries or devices.
    """

    left: Array
    right: Array
    dtype: Any

    # Without it `numpy.float64(2) * update` makes an array of objects.
    __array_ufunc__ = None

    def __post_init__(self) -> None:
        require_arrays(left=self.left, right=self.right)
        epsilon(self.dtype)
        require_shape("left", self.left, ("d_out", "r"))
        require_shape("right", self.right, ("d_in", "r"))
        if self.left.shape[1] != self.right.shape[1]:
            raise ShapeError(
                f"left has {self.left.shape[1]} column(s) and right has {self.right.shape[1]}; expected the "
                f"same number; give one pair of columns for each rank"
            )
        object.__setattr__(self, "left", as_float64(self.left))
        object.__setattr__(self, "right", as_float64(self.right))

    def __repr__(self) -> str:
        d_out, d_in = self.shape
        return f"LowRank({d_out} × {d_in}, rank {self.rank}, {self.dtype})"

    @classmethod
    def from_dense(
        cls, matrix: Array, *, rank: int | None = None, tolerance: float | None = None, dtype: Any = None
    ) -> Compressed:
        """The best low-rank approximation of a dense change, from its singular values in float64.

        Args:
            matrix: (d_out, d_in), any floating dtype; the cost is that of all its singular vectors.
            rank: as for `recompressed`.
            tolerance: as for `recompressed`.
            dtype: the dtype of the weight that the change belongs to; None means that of `matrix`.

        Returns:
            The update, with orthonormal columns on the right, and its relative error.

        Raises:
            ShapeError: matrix is not two-dimensional, or a dtype is not floating point.
            InputError: rank or tolerance as for `recompressed`.
            NumericalError: matrix is not finite.
        """
        require_arrays(matrix=matrix)
        require_shape("matrix", matrix, ("d_out", "d_in"))
        to_host("matrix", matrix)
        dense = as_float64(matrix)
        xp = array_api_compat.array_namespace(dense)
        target = matrix.dtype if dtype is None else dtype
        return _truncated(xp.linalg.svd(dense, full_matrices=False), rank, tolerance, target)

    @property
    def rank(self) -> int:
        """The number r of column pairs, an upper bound of the matrix rank."""
        return int(self.left.shape[1])

    @property
    def shape(self) -> tuple[int, int]:
        """The shape (d_out, d_in) of the matrix."""
        return int(self.left.shape[0]), int(self.right.shape[0])

    def materialise(self, dtype: Any = None) -> Array:
        """The matrix itself, (d_out, d_in), formed in float64 and rounded once to `dtype`.

        Args:
            dtype: a floating dtype of the same library; None means the weight's own.

        Raises:
            NumericalError: a value overflows `dtype`.
        """
        return rounded("the update", self._product(), self.dtype if dtype is None else dtype)

    def frobenius_norm(self) -> float:
        """‖left @ right.T‖ in the units of the weight, from the triangular factors of both sides."""
        xp = array_api_compat.array_namespace(self.left)
        triangles = [xp.linalg.qr(side, mode="reduced")[1] for side in (self.left, self.right)]
        return float(xp.linalg.matrix_norm(triangles[0] @ triangles[1].T))

    def singular_values(self) -> Array:
        """The singular values, falling, at most min(r, d_out, d_in) of them, from the factors alone.

        Their absolute error is a few ε ‖left‖ ‖right‖: those of columns that cancel are lost below it.
        """
        return self._decomposition()[1]

    def recompressed(self, *, rank: int | None = None, tolerance: float | None = None) -> Compressed:
        """The best approximation of lower rank in the Frobenius norm (Eckart and Young), and its error.

        It costs O((d_out + d_in) r²): QR of both factors and the singular values of an r × r matrix.

        Args:
            rank: keep this many singular values, or all there are if there are fewer.
            tolerance: keep the fewest (at least one) for which the relative error is at most this.
                With neither, only what is rounding is dropped.

        Returns:
            The update, with left = Uσ and the orthonormal right = V, and ‖A − Aᵣ‖ / ‖A‖, which is the root
            of the squared sum of the dropped singular values over that of all.

        Raises:
            InputError: both, a rank below 1, or a tolerance outside 0 to 1.
            NumericalError: the matrix overflows float64.
        """
        return _truncated(self._decomposition(), rank, tolerance, self.dtype)

    def __add__(self, other: LowRank) -> LowRank:
        """The sum of two changes of one weight: their columns side by side, so that the ranks add.

        Raises:
            ShapeError: the shapes or dtypes differ.
            InputError: the factors belong to different libraries or devices.
        """
        if not isinstance(other, LowRank):
            return NotImplemented
        require_arrays(update=self.left, other=other.left)
        if (self.shape, self.dtype) != (other.shape, other.dtype):
            raise ShapeError(
                f"the updates are {self.shape} of {self.dtype} and {other.shape} of "
                f"{other.dtype}; expected two changes of one weight; give both its shape and dtype"
            )
        xp = array_api_compat.array_namespace(self.left)
        left = xp.concat([self.left, other.left], axis=1)
        return LowRank(left, xp.concat([self.right, other.right], axis=1), self.dtype)

    def __neg__(self) -> LowRank:
        return replace(self, left=-self.left)

    def __sub__(self, other: LowRank) -> LowRank:
        return self + -other if isinstance(other, LowRank) else NotImplemented

    def __mul__(self, factor: float) -> LowRank:
        """The change times a number, which goes into `left`; the rank stays, even for 0.

        Raises:
            InputError: the number is NaN or infinite.
            NumericalError: the product overflows float64.
        """
        if not isinstance(factor, float | Real):
            return NotImplemented
        if not math.isfinite(float(factor)):
            raise InputError(f"found a factor of {factor}; expected a finite number; look where it came from")
        with np.errstate(over="ignore"):
            left = self.left * float(factor)
        to_host("left times the factor", left)
        return replace(self, left=left)

    __rmul__ = __mul__

    def apply_to(self, W: Array) -> Array:
        """Ŵ = W + left @ right.T, added in float64 and rounded once to the dtype of W.

        Args:
            W: (d_out, d_in), same library and device as the factors; it is not changed.

        Raises:
            ShapeError: W has another shape or is not floating point.
            InputError: W belongs to another library or device.
            NumericalError: a value overflows the dtype of W, or W is not finite.
        """
        require_arrays(update=self.left, W=W)
        require_shape("W", W, self.shape, "apply the update to the weight it was made for")
        return rounded("W + update", as_float64(W) + self._product(), W.dtype)

    def _product(self) -> Array:
        return self.left @ self.right.T

    def _decomposition(self) -> tuple[Array, Array, Array]:
        """U, σ and Vᵀ of the matrix, thin."""
        xp = array_api_compat.array_namespace(self.left)
        (q_left, r_left), (q_right, r_right) = (
            xp.linalg.qr(side, mode="reduced") for side in (self.left, self.right)
        )
        with np.errstate(over="ignore", invalid="ignore"):
            core = r_left @ r_right.T
        to_host("the product of the factors", core)
        u, sigma, vt = xp.linalg.svd(core, full_matrices=False)
        return q_left @ u, sigma, vt @ q_right.T


class Compressed(NamedTuple):
    """A low-rank approximation and how far it is off.

    Attributes:
        update: the approximation.
        error: ‖A − update‖ / ‖A‖ in the Frobenius norm, without unit; 0 when A is zero.
    """

    update: LowRank
    error: float


def _truncated(
    decomposition: tuple[Array, Array, Array], rank: int | None, tolerance: float | None, dtype: Any
) -> Compressed:
    u, sigma, vt = decomposition
    count, error = kept(to_host("the singular values", sigma), rank, tolerance)
    return Compressed(LowRank(u[:, :count] * sigma[:count], vt[:count, :].T, dtype), error)
