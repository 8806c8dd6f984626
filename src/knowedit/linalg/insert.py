"""Associations written into a linear associative memory, in closed form: one, or many at once."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve

from knowedit.errors import InputError, NumericalError
from knowedit.linalg._arrays import (
    EPSILON,
    Array,
    Host,
    epsilon,
    from_host,
    require_arrays,
    require_shape,
    to_host,
)
from knowedit.linalg.gram import KeyGram
from knowedit.linalg.low_rank import LowRank
from knowedit.linalg.second_moment import Moment

_REFINEMENTS = 5
_CONVERGED = 1e-3
_TURNED = "W is (d_out, d_in): transpose W if it is stored the other way round"


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
    d_out, d_in = _require_weight(W, k=k, v=v)
    require_shape("k", k, (d_in,), _TURNED)
    require_shape("v", v, (d_out,), _TURNED)
    key, value = to_host("k", k), to_host("v", v)
    if not key.any():
        raise NumericalError(
            "k is the zero vector; expected a key with a nonzero entry; no W maps 0 to a value v"
        )
    return _inserted(W, key[:, None], value[:, None], C, epsilon(k.dtype), 0.0)


def insert_key_values(W: Array, K_new: Array, V_new: Array, C: Moment, *, ridge: float = 0.0) -> LowRank:
    """The smallest change of W after which `Ŵ K_new = V_new`, or, with a ridge, nearly so.

    With U = C⁻¹K_new and Λ = (V_new − W K_new) (K_newᵀU + ridge I)⁻¹ the new matrix is Ŵ = W + ΛUᵀ.

    - ridge = 0: Eqn. 4 with e constraints. Of all matrices with ŴK_new = V_new it alone minimises
      ‖(Ŵ − W)K‖, and ‖ŴK − V‖ when W is the least-squares solution for (K, V). The scale of C does not
      matter. One pair gives `insert_key_value`.
    - ridge > 0: Ŵ alone minimises ridge ‖(Ŵ − W)K‖² + ‖ŴK_new − V_new‖². Keys may be dependent and even
      zero. It is MEMIT's update (Meng et al. 2022, arXiv:2210.07229, Section 4.2),
      (V_new − W K_new) K_newᵀ (ridge C + K_new K_newᵀ)⁻¹, where ridge is the weight of the old keys: C and
      ridge matter by their product alone. As ridge goes to 0, Ŵ goes to that of the first form.

    Args:
        W: (d_out, d_in), float16, bfloat16, float32 or float64, in any array-API library; not changed.
        K_new: (d_in, e), the keys as columns, in the same library and on the same device. They may be of
            very different length.
        V_new: (d_out, e), the values as columns.
        C: K Kᵀ, (d_in, d_in), in the library of W; or a `SecondMoment` (then the mean, which counts for
            the ridge); or a `FactorisedMoment`, which spares the O(d_in³) factorisation.
        ridge: the weight of old values against new ones, at least 0.

    Returns:
        left = Λ (d_out, e) and right = C⁻¹K_new (d_in, e) in float64, in the library and on the device of W.

    Raises:
        ShapeError: shapes that do not fit, no pairs, or dtypes that are not floating point.
        InputError: arrays of different libraries or devices, or a ridge that is negative or not finite.
        NumericalError: NaN or infinity, a zero key without a ridge, C not symmetric or indefinite.
        SingularError: C is not of full rank, or the keys are dependent and there is no ridge to hold them.
    """
    d_out, d_in = _require_weight(W, K_new=K_new, V_new=V_new)
    require_shape("K_new", K_new, ("d_in", "e"), "keys are columns: pass one for each pair", filled=True)
    pairs = int(K_new.shape[1])
    require_shape("K_new", K_new, (d_in, pairs), f"keys are columns; {_TURNED}")
    require_shape("V_new", V_new, (d_out, pairs), f"values are columns, one for each key; {_TURNED}")
    if not (ridge >= 0 and math.isfinite(ridge)):
        raise InputError(f"ridge is {ridge}; expected a finite number, at least 0; 0 makes the values exact")
    keys, values = to_host("K_new", K_new), to_host("V_new", V_new)
    if not ridge:
        _require_nonzero_columns(keys)
    return _inserted(W, keys, values, C, epsilon(K_new.dtype), float(ridge))


def _require_weight(W: Array, **pair: Array) -> tuple[int, int]:
    require_arrays(W=W, **pair)
    require_shape("W", W, ("d_out", "d_in"), "check W", filled=True)
    return int(W.shape[0]), int(W.shape[1])


def _require_nonzero_columns(keys: Host) -> None:
    empty = np.flatnonzero(~keys.any(axis=0))
    if len(empty):
        raise NumericalError(
            f"K_new holds {len(empty)} zero key(s), the first in column {empty[0]}; expected keys with a "
            f"nonzero entry; no W maps 0 to a value, so drop those pairs"
        )


def _inserted(W: Array, keys: Host, values: Host, C: Moment, resolution: float, ridge: float) -> LowRank:
    weight = to_host("W", W)
    gram = KeyGram.of(keys, C, resolution, W=W)
    multipliers = _multipliers(gram, values - weight @ keys, ridge)
    return LowRank(from_host(multipliers, W), from_host(gram.directions, W), W.dtype)


def _multipliers(gram: KeyGram, gap: Host, ridge: float) -> Host:
    """Λ, (d_out, e), with Λ (G + ridge I) = gap, refined against G in long double."""
    system = gram.wide + ridge * np.eye(gram.count)
    scale = _powers_of_two(system.diagonal())
    if not ridge:
        gram.require_independent()
    triangle = gram.triangle(ridge, scale)
    solution = np.zeros(gap.shape, np.longdouble)
    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(_REFINEMENTS):
            step = _substitute(triangle, scale, gap - solution @ system)
            solution = solution + step
            if _size(step, scale) <= EPSILON["float64"] * _size(solution, scale):
                break
        multipliers = solution.astype(np.float64)
    if not np.isfinite(multipliers).all():
        raise _unusable(system.diagonal())
    if _size(step, scale) > _CONVERGED * _size(solution, scale):
        raise NumericalError(
            "(V_new − W K_new) (K_newᵀC⁻¹K_new)⁻¹ cannot be solved for in float64: the keys are nearly "
            "dependent and C is ill-conditioned; expected keys that differ more; damp C or pass ridge="
        )
    return multipliers


def _powers_of_two(diagonal: NDArray[np.longdouble]) -> Host:
    if not (diagonal > 0).all():
        raise _unusable(diagonal)
    return np.exp2(np.rint(np.log2(diagonal) / 2)).astype(np.float64)


def _substitute(triangle: Host, scale: Host, rows: NDArray[Any]) -> NDArray[np.longdouble]:
    scaled = (rows / scale).astype(np.float64)
    solved = np.asarray(cho_solve((triangle, False), scaled.T, check_finite=False)).T
    return solved.astype(np.longdouble) / scale


def _size(rows: NDArray[np.longdouble], scale: Host) -> float:
    return float(np.linalg.norm((rows * scale).astype(np.float64)))


def _unusable(divisors: NDArray[np.longdouble]) -> NumericalError:
    return NumericalError(
        f"kᵀC⁻¹k is {float(divisors.min()):.3g}, with no usable quotient (v − Wk) / (kᵀC⁻¹k); expected a "
        f"positive number; bring W, k, v and C to ordinary scales"
    )
