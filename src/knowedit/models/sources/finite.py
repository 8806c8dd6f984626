"""Weights that are no numbers are found when a model is opened, and not in its results."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from knowedit.errors import NumericalError


def check_finite(model: nn.Module, name: str) -> None:
    """Refuse a model with a parameter that is NaN or infinite; one pass over the weights.

    Buffers do not count: a mask may hold minus infinity.

    Raises:
        NumericalError: names the first such parameter, and how much of it is not finite.
    """
    for path, parameter in model.named_parameters():
        if is_finite(parameter):
            continue
        wrong = ~parameter.detach().isfinite()
        raise NumericalError(
            f"{int(wrong.sum())} of the {parameter.numel()} numbers in {path} of {name} are NaN or infinite "
            f"({str(parameter.dtype).removeprefix('torch.')}), expected finite weights: "
            "get the weights anew, or open them in a wider number format if they were converted to this one"
        )


def is_finite(tensor: Tensor) -> bool:
    """Whether no number in it is NaN or infinite; without memory of its own, where that can be done."""
    if not tensor.is_floating_point() or tensor.is_meta or not tensor.numel():
        return True
    ends = torch.stack(torch.aminmax(tensor.detach()))  # NaN wins over every number
    return bool(ends.isfinite().all())
