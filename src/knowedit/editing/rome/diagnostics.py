"""The diagnostics of an update of ROME: figures that tell before it is used whether it is sound."""

from __future__ import annotations

import torch
from torch import Tensor

from knowedit.editing.edits.provenance import Diagnostics
from knowedit.editing.rome.values import Value
from knowedit.linalg import FactorisedMoment, LowRank
from knowedit.models import Projection
from knowedit.models.overlays import rounded


def diagnose(
    projection: Projection,
    update: LowRank,
    key: Tensor,
    also: Tensor | None,
    constraint: Tensor | None,
    inserted: Tensor,
    factor: FactorisedMoment,
    value: Value,
) -> Diagnostics:
    """Measure an update that was just computed.

    Args:
        projection: what it changes.
        update: the change.
        key: k*, ``(d_in,)``.
        also: the other key that shall return the value, if there is one.
        constraint: the key that the value was inserted at, if that is another one.
        inserted: v* − b, ``(d_out,)``.
        factor: of C.
        value: the search for v*.
    """
    old, change = projection.weight.detach().double(), update.materialise(torch.float64)
    weight = projection.parameter.detach()
    total = weight.double() + projection.to_storage(change.to(weight.device))
    stored = rounded(projection.path, total, weight.dtype)  # as it will be when the edit is applied
    new = (stored.T if projection.transposed else stored).double()
    moment = torch.from_numpy(factor.matrix).to(old.device)
    held = key if constraint is None else constraint
    reached = [key] if also is None else [key, also.to(key)]
    return Diagnostics(
        residual=max(float((new @ one - inserted).norm() / inserted.norm()) for one in reached),
        divisor=float(held @ update.right[:, 0]),
        relative_change=float(change.norm() / old.norm()),
        change_on_text=_norm_on_text(change, moment) / _norm_on_text(old, moment),
        condition=factor.condition_estimate,
        probability=value.probability,
        steps=value.steps,
        alignment=1.0 if constraint is None else _alignment(key, constraint, factor),
        prompt_key_cosine=float(torch.nn.functional.cosine_similarity(key, value.key.to(key), dim=0)),
    )


def _norm_on_text(matrix: Tensor, moment: Tensor) -> float:
    """√tr(A C Aᵀ): the root mean square of ‖A k‖ over the keys behind C."""
    return float(((matrix @ moment) * matrix).sum().clamp(min=0).sqrt())


def _alignment(a: Tensor, b: Tensor, factor: FactorisedMoment) -> float:
    """The cosine of two keys in the metric of C⁻¹."""
    pair = torch.stack([a, b], dim=1).double()
    gram = pair.T @ factor.solve(pair)
    return float(gram[0, 1] / (gram[0, 0] * gram[1, 1]).sqrt())
