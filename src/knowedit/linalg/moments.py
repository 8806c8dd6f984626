"""The ways to give C, and the one form that is solved with."""

from __future__ import annotations

from typing import TypeAlias

from knowedit.errors import ShapeError
from knowedit.linalg._arrays import Array, require_float, require_one_home, require_shape
from knowedit.linalg.factorised import FactorisedMoment
from knowedit.linalg.second_moment import SecondMoment

Moment: TypeAlias = "Array | SecondMoment | FactorisedMoment"
"""The ways to give C: a matrix, a streamed moment, or one that is already factorised."""


def factorised(C: Moment, d_in: int, **like: Array) -> FactorisedMoment:
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
    require_float(C=C)
    require_one_home(**like, C=C)
    require_shape("C", C, (d_in, d_in), "C = K Kᵀ must be square with the columns of W")
    return FactorisedMoment.from_matrix(C)
