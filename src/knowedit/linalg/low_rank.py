"""A change of a weight matrix kept as two thin factors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import array_api_compat

from knowedit.errors import ShapeError
from knowedit.linalg._arrays import (
    Array,
    as_float64,
    require_float,
    require_float_dtype,
    require_ndim,
    require_one_home,
    require_shape,
    rounded,
)


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

    def __post_init__(self) -> None:
        require_float(left=self.left, right=self.right)
        require_float_dtype("dtype", self.dtype)
        require_one_home(left=self.left, right=self.right)
        require_ndim("left", self.left, ("d_out", "r"))
        require_ndim("right", self.right, ("d_in", "r"))
        if self.left.shape[1] != self.right.shape[1]:
            raise ShapeError(
                f"left has {self.left.shape[1]} column(s) and right has {self.right.shape[1]}; expected the "
                f"same number; give one pair of columns for each rank"
            )
        object.__setattr__(self, "left", as_float64(self.left))
        object.__setattr__(self, "right", as_float64(self.right))

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

    def apply_to(self, W: Array) -> Array:
        """Ŵ = W + left @ right.T, added in float64 and rounded once to the dtype of W.

        Args:
            W: (d_out, d_in), same library and device as the factors; it is not changed.

        Raises:
            ShapeError: W has another shape or is not floating point.
            InputError: W belongs to another library or device.
            NumericalError: a value overflows the dtype of W, or W is not finite.
        """
        require_float(W=W)
        require_one_home(update=self.left, W=W)
        require_shape("W", W, self.shape, "apply the update to the weight it was made for")
        return rounded("W + update", as_float64(W) + self._product(), W.dtype)

    def _product(self) -> Array:
        return self.left @ self.right.T
