"""One association written into a linear associative memory, in closed form."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from knowedit.errors import NumericalError, ShapeError
from knowedit.linalg._arrays import (
    Array,
    Host,
    from_host,
    require_float,
    require_ndim,
    require_one_home,
    require_shape,
    to_host,
)
from knowedit.linalg.factorised import FactorisedMoment
from knowedit.linalg.low_rank import LowRank
from knowedit.linalg.second_moment import SecondMoment

Moment: TypeAlias = "Array | SecondMoment | FactorisedMoment"
"""The ways to give C: a matrix, a streamed moment, or one that is already factorised."""


def insert_key_value(W: Array, k: Array, v: Array, C: Moment) -> LowRank:
    """The smallest change of W after which `Ŵ k = v`: Eqn. 5 of the paper, written out in Eqn. 18-22.

    With u = C⁻¹k and Λ = (v − Wk) / (kᵀu) the new matrix is Ŵ = W + Λuᵀ. Of all matrices with Ŵk = v it
    alone minimises ‖(Ŵ − W)K‖, and ‖ŴK − V‖ as well when W is the least-squares solution for (K, V).
    The scale of C does not matter. W is not changed.

    Args:
        W: (d_out, d_in), float16, bfloat16, float32 or float64, in any array-API library.
        k: (d_in,), the key, in the same library and on the same device.
        v: (d_out,), the value that the key shall return.
        C: K Kᵀ, (d_in, d_in), in the library of W; or a `SecondMoment`; or a `FactorisedMoment`,
            which spares the O(d_in³) factorisation when many pairs use one C.

    Returns:
        left = Λ (d_out, 1) and right = C⁻¹k (d_in, 1) in float64, in the library and on the device of W.

    Raises:
        ShapeError: shapes that do not fit, or dtypes that are not floating point.
        InputError: arrays of different libraries or devices.
        NumericalError: NaN or infinity, a zero key, C not symmetric or indefinite.
        SingularError: C is not of full rank.
    """
    _require_pair(W, k, v)
    key, value = to_host("k", k), to_host("v", v)
    if not key.any():
        raise NumericalError(
            "k is the zero vector; expected a key with a nonzero entry; no W maps 0 to a value v"
        )
    weight = to_host("W", W)
    factor = factorised(C, W)
    direction = factor.solve_on_host(key)
    multiplier = _multiplier(weight, key, value, direction)
    return LowRank(from_host(multiplier[:, None], W), from_host(direction[:, None], W), W.dtype)


def factorised(C: Moment, W: Array) -> FactorisedMoment:
    """C with its factor, checked to fit the weight W (d_out, d_in)."""
    d_in = int(W.shape[1])
    if isinstance(C, FactorisedMoment | SecondMoment):
        if C.dim != d_in:
            raise ShapeError(
                f"C is for keys of length {C.dim}; expected {d_in}, the columns of W; "
                f"use the moment of the layer and model that W comes from"
            )
        return C if isinstance(C, FactorisedMoment) else C.factorise()
    require_float(C=C)
    require_one_home(W=W, C=C)
    require_shape("C", C, (d_in, d_in), "C = K Kᵀ must be square with the columns of W")
    return FactorisedMoment.from_matrix(C)


def _require_pair(W: Array, k: Array, v: Array) -> None:
    require_float(W=W, k=k, v=v)
    require_one_home(W=W, k=k, v=v)
    require_ndim("W", W, ("d_out", "d_in"))
    d_out, d_in = (int(n) for n in W.shape)
    if not d_out or not d_in:
        raise ShapeError(f"W has shape {(d_out, d_in)}; expected at least one row and one column; check W")
    orientation = "W is (d_out, d_in): transpose W if it is stored the other way round"
    require_shape("k", k, (d_in,), orientation)
    require_shape("v", v, (d_out,), orientation)


def _multiplier(W: Host, k: Host, v: Host, u: Host) -> Host:
    """Λ = (v − Wk) / (kᵀu), (d_out,); the divisor is summed in extended precision."""
    divisor = np.dot(k.astype(np.longdouble), u.astype(np.longdouble))
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        multiplier = np.asarray((v - W @ k) / divisor, dtype=np.float64)
    if not divisor > 0 or not np.isfinite(multiplier).all():
        raise NumericalError(
            f"kᵀC⁻¹k is {float(divisor):.3g}, with no usable quotient (v − Wk) / (kᵀC⁻¹k); expected a "
            f"positive number; bring W, k, v and C to ordinary scales"
        )
    return multiplier
