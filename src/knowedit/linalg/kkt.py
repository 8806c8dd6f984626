"""How well a matrix satisfies the optimality conditions of a constrained insertion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from knowedit.errors import InputError, ShapeError
from knowedit.linalg._arrays import EPSILON, Array, Host, require_arrays, require_shape, to_host
from knowedit.linalg.factorised import FactorisedMoment
from knowedit.linalg.second_moment import Moment, SecondMoment


class KKT(NamedTuple):
    """The residuals of `minimise ‖ŴK − V‖² subject to Ŵk = v` (Eqn. 4) at one Ŵ, for one pair or many.

    Attributes:
        objective: ‖ŴK − V‖² in the units of a squared value, summed over keys as C is (a mean if C is
            a mean); None when it was not determined by what was given.
        stationarity: ‖G − Λkᵀ‖ / ‖G‖ for G = ŴC − VKᵀ and the best Λ: the share of the gradient that
            the constraint does not explain (Eqn. 17). 0 is stationary, 1 is not at all; 0 as well when
            G itself is rounding, as for the unconstrained minimiser.
        feasibility: ‖Ŵk − v‖ / ‖v‖ (Eqn. 13); ‖Ŵk‖ when v is zero. With many pairs, the largest of them.
        multiplier: (d_out,) or (d_out, e) as v is, the best Λ, float64 NumPy, in the scale of C.
    """

    objective: float | None
    stationarity: float
    feasibility: float
    multiplier: Host


@dataclass(frozen=True, eq=False)
class _Gradient:
    """G = ŴC − VKᵀ, the size of the terms it is the difference of, and the objective."""

    G: Host
    size: float
    objective: float | None


def kkt(
    W_hat: Array,
    k: Array,
    v: Array,
    C: Moment | None = None,
    *,
    W: Array | None = None,
    K: Array | None = None,
    V: Array | None = None,
    VKt: Array | None = None,
    v_norm_squared: float | None = None,
) -> KKT:
    """The residuals of Eqn. 13 and 17 and the objective of Eqn. 4, in float64 on the host.

    What Ŵ ought to reproduce is given in one of three ways:

    - `K` and `V`: the pairs themselves; C is then K Kᵀ and must not be given.
    - `VKt` and `C`: their moments; the objective needs ‖V‖² as well, as `v_norm_squared`, and loses
      digits to cancellation.
    - `W` and `C`: the old weight, V = WK. The objective is ‖(Ŵ − W)K‖², the least change.

    Args:
        W_hat: Ŵ, (d_out, d_in).
        k: (d_in,), the inserted key; or (d_in, e), the keys as columns.
        v: (d_out,), its value; or (d_out, e), the values as columns.
        C: K Kᵀ, (d_in, d_in), or a `SecondMoment` or `FactorisedMoment` (then their mean).
        W: (d_out, d_in), the weight before the insertion.
        K: (d_in, n), the old keys as columns.
        V: (d_out, n), their values as columns.
        VKt: V Kᵀ, (d_out, d_in), on the same scale as C.
        v_norm_squared: ‖V‖², on the same scale as C.

    Raises:
        ShapeError: shapes or dtypes that do not fit.
        InputError: not exactly one of the three ways.
        NumericalError: NaN or infinity in an argument.
    """
    require_arrays(W_hat=W_hat)
    require_shape("W_hat", W_hat, ("d_out", "d_in"))
    d_out, d_in = (int(n) for n in W_hat.shape)
    new = _host("W_hat", W_hat, (d_out, d_in))
    pairs = () if k.ndim == 1 else tuple(k.shape[1:])
    key, value = _host("k", k, (d_in, *pairs)), _host("v", v, (d_out, *pairs))
    if len(pairs) > 1:
        raise ShapeError(f"k has shape {tuple(k.shape)}; expected (d_in,) or (d_in, e); reshape k")
    given = {name for name, a in {"C": C, "W": W, "K": K, "V": V, "VKt": VKt}.items() if a is not None}
    match sorted(given):
        case ["K", "V"]:
            gradient = _from_pairs(new, K, V)
        case ["C", "VKt"]:
            cross = _host("VKt", VKt, (d_out, d_in))
            gradient = _from_moments(new, _matrix(C, d_in), cross, v_norm_squared)
        case ["C", "W"]:
            gradient = _from_change(new, _matrix(C, d_in), _host("W", W, (d_out, d_in)))
        case found:
            raise InputError(
                f"found {found}; expected K and V, or C and VKt, or C and W; give one of these pairs"
            )
    return _residuals(gradient, new, key, value)


def _from_pairs(new: Host, K: Array, V: Array) -> _Gradient:
    require_arrays(K=K)
    require_shape("K", K, ("d_in", "n"))
    samples = int(K.shape[1])
    keys, values = _host("K", K, (new.shape[1], samples)), _host("V", V, (new.shape[0], samples))
    error = new @ keys - values
    size = (_norm(new @ keys) + _norm(values)) * _norm(keys)
    return _Gradient(error @ keys.T, size, _norm(error) ** 2)


def _from_moments(new: Host, C: Host, cross: Host, v_norm_squared: float | None) -> _Gradient:
    product = new @ C
    objective = None
    if v_norm_squared is not None:
        objective = float(np.vdot(product, new) - 2 * np.vdot(cross, new)) + v_norm_squared
    return _Gradient(product - cross, _norm(product) + _norm(cross), objective)


def _from_change(new: Host, C: Host, old: Host) -> _Gradient:
    change = new - old
    product = change @ C
    return _Gradient(product, (_norm(new) + _norm(old)) * _norm(C), float(np.vdot(product, change)))


def _residuals(gradient: _Gradient, new: Host, k: Host, v: Host) -> KKT:
    G, keys, values = gradient.G, k.reshape(len(k), -1), v.reshape(len(v), -1)
    lengths = np.linalg.norm(keys, axis=0)
    lengths[lengths == 0] = 1.0
    unit = keys / lengths
    multiplier = np.linalg.lstsq(unit, G.T, rcond=None)[0].T / lengths
    left_over, whole = _norm(G - (multiplier * lengths) @ unit.T), _norm(G)
    rounding = 4 * len(k) ** 0.5 * EPSILON["float64"] * gradient.size
    stationarity = left_over / whole if whole > rounding else 0.0
    sizes = np.linalg.norm(values, axis=0)
    errors = np.linalg.norm(new @ keys - values, axis=0) / np.where(sizes > 0, sizes, 1.0)
    return KKT(gradient.objective, stationarity, float(errors.max()), multiplier.reshape(v.shape))


def _host(name: str, array: Array, shape: tuple[int, ...]) -> Host:
    require_arrays(**{name: array})
    require_shape(name, array, shape, "Ŵ is (d_out, d_in) and everything else must fit it")
    return to_host(name, array)


def _matrix(C: Moment, d_in: int) -> Host:
    matrix = C.matrix if isinstance(C, SecondMoment | FactorisedMoment) else C
    return _host("C", matrix, (d_in, d_in))


def _norm(array: Host) -> float:
    return float(np.linalg.norm(array))
