"""The rank-one update of an edit, with one key on both sides of the solve or, as once released, with two."""

from __future__ import annotations

from torch import Tensor

from knowedit.errors import NumericalError
from knowedit.linalg import FactorisedMoment, LowRank, insert_key_value


def insert(
    weight: Tensor,
    key: Tensor,
    value: Tensor,
    factor: FactorisedMoment,
    *,
    constraint: Tensor | None = None,
    bound: float | None = None,
) -> LowRank:
    """Eqn. 5, and what the released code made of it.

    Args:
        weight: W, ``(d_out, d_in)``.
        key: k*, ``(d_in,)``, which gives the direction C⁻¹k*.
        value: what the constrained key shall return, ``(d_out,)``.
        factor: of C.
        constraint: the key k of ``Ŵk = v``, by default k* itself. With another one Λ becomes
            (v − Wk) / (kᵀC⁻¹k*), whose divisor has no lower bound: where the keys disagree the update
            has any size and damages the model (a disabling edit).
        bound: the largest ‖Λ‖ ‖C⁻¹k*‖, which is the norm of the update; longer ones are shortened and then
            miss the value.

    Raises:
        NumericalError: the divisor is zero, or what `insert_key_value` raises.
    """
    update = insert_key_value(weight, key, value, factor)
    left, right = update.left, update.right
    if constraint is not None:
        divisor = constraint.to(right) @ right[:, 0]
        if not float(divisor):
            raise NumericalError(
                "kᵀC⁻¹k* is 0: the two keys have nothing in common; use one key on both sides"
            )
        left = ((value.to(left) - weight.to(left) @ constraint.to(left)) / divisor)[:, None]
    norm = float(left.norm() * right.norm())
    if bound is not None and norm > bound:
        left = left * (bound / norm)
    return LowRank(left, right, update.dtype)
