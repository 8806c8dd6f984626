"""The linear associative memory itself: the matrix that maps keys to values at least error."""

from __future__ import annotations

import math

import numpy as np

from knowedit.errors import InputError, NumericalError
from knowedit.linalg._arrays import (
    EPSILON,
    Array,
    Host,
    epsilon,
    from_host,
    require_arrays,
    require_shape,
    rounded,
    to_host,
)


def least_squares_memory(K: Array, V: Array, *, damping: float = 0.0) -> Array:
    """The W that minimises ‖WK − V‖² (Section 4 of the paper), and of all such W the smallest: V K⁺.

    - With at most d_in independent keys every value is recalled exactly, WK = V, and W maps what is
      orthogonal to all keys to zero.
    - With more, W K Kᵀ = V Kᵀ, which is the W that Eqn. 5 starts from.
    - With a damping λ, W minimises ‖WK − V‖² + λ (tr K Kᵀ / d_in) ‖W‖², so W = V Kᵀ C⁻¹ for the C of
      `SecondMoment.damped(λ)`. λ has no unit.

    Solved in float64 by the singular values of K, without forming K Kᵀ, so that nothing is squared.
    Directions that the rounding of K to its dtype can have made count as never seen: those with a singular
    value below √r ε of the largest, r being the smaller side of K and ε the epsilon of its dtype.

    Args:
        K: (d_in, n), the keys as columns, any floating dtype, in any array-API library.
        V: (d_out, n), the values as columns, in the same library and on the same device.
        damping: λ, at least 0.

    Returns:
        W, (d_out, d_in), in the library, on the device and in the dtype of V, rounded once.

    Raises:
        ShapeError: shapes that do not fit, no keys, or dtypes that are not floating point.
        InputError: arrays of different libraries or devices, or a damping that is negative or not finite.
        NumericalError: NaN or infinity, keys that are all zero, or a W that does not fit the dtype of V.
    """
    require_arrays(K=K, V=V)
    require_shape("K", K, ("d_in", "n"), "keys are columns: pass one for each pair", filled=True)
    require_shape("V", V, ("d_out", int(K.shape[1])), "give one value, a column of V, for each key")
    if not (damping >= 0 and math.isfinite(damping)):
        raise InputError(f"damping is {damping}; expected a finite share, at least 0; try 1e-6")
    keys, values = to_host("K", K), to_host("V", V)
    if not keys.any():
        raise NumericalError("K is zero; expected a key with a nonzero entry; check how the keys were read")
    rounding = EPSILON["float64"] if damping else epsilon(K.dtype)
    W = _minimiser(keys, values, float(damping), rounding)
    return rounded("the memory", from_host(W, V), V.dtype)


def _minimiser(K: Host, V: Host, damping: float, rounding: float) -> Host:
    d_in = len(K)
    if damping:
        ridge = damping**0.5 * float(np.linalg.norm(K)) / d_in**0.5
        K, V = np.hstack([K, ridge * np.eye(d_in)]), np.hstack([V, np.zeros((len(V), d_in))])
    # LAPACK's own rounding is float64's; its routine takes a cutoff of 1 or more for no cutoff at all.
    cutoff = max(rounding * min(K.shape) ** 0.5, EPSILON["float64"] * max(K.shape))
    return np.asarray(np.linalg.lstsq(K.T, V.T, rcond=min(cutoff, 0.99))[0].T)
