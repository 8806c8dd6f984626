"""What a model does to the numbers just before and after its head: nothing, a scale, a soft cap."""

from __future__ import annotations

from itertools import product
from typing import Any

import torch
from torch import Tensor

from knowedit.models.anatomies.anatomy import Steps, take_steps

KINDS = ("multiply", "divide", "cap")


def numbers_of(*places: Any) -> list[float]:
    """The positive numbers, besides 1, that configurations or modules have as attributes; each once."""
    found = [
        float(value)
        for place in places
        for value in vars(place).values()
        if isinstance(value, int | float) and not isinstance(value, bool) and value > 0 and value != 1
    ]
    return list(dict.fromkeys(found))


def find_steps(before: Tensor, after: Tensor, numbers: list[float]) -> Steps | None:
    """The fewest steps that make ``after`` out of ``before`` to the last bit; None where two do not.

    Args:
        before: any tensor.
        after: of the same shape.
        numbers: what the steps may use.
    """
    before, after = before.cpu(), after.cpu()
    single = [(kind, number) for kind in KINDS for number in numbers]
    few = (
        before.flatten()[:64],
        after.flatten()[:64],
    )  # a pair in a hundred thousand agrees here by chance, not all
    for length in range(3):
        for steps in product(single, repeat=length):
            if torch.equal(take_steps(steps, few[0]), few[1]) and torch.equal(
                take_steps(steps, before), after
            ):
                return steps
    return None
