"""What counts as the same float32 result of two ways that add in another order."""

from __future__ import annotations

import torch
from torch import Tensor

TOLERANCE = 1e-5


def assert_same(found: Tensor, expected: Tensor, tolerance: float = TOLERANCE) -> None:
    """Equal up to ``tolerance`` of the largest value compared, or of 1.

    Sums cancel, so that the rounding of one element is that of the largest: changing the weights of the tiny
    Llama by half a unit in the last place moves its logits, which reach 5.6, by 1.6e-5. Another processor adds in
    another order and does no less.
    """
    scale = max(1.0, float(expected.detach().abs().max()))
    torch.testing.assert_close(found, expected.expand_as(found), rtol=0, atol=tolerance * scale)
