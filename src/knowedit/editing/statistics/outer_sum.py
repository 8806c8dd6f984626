"""The sum of k kᵀ over keys that come in pieces of any length: float64, in place."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg.blas import dsyrk
from torch import Tensor

from knowedit.linalg import SecondMoment

BLOCK = 2048
"""Keys that are collected before they are multiplied: long enough for BLAS to be at its full speed."""


class OuterSum:
    """A running sum, unlike `SecondMoment` changed by every call and without a copy of the matrix.

    Keys are widened to float64 and collected in a block. On the host a full block goes into one
    triangle by a rank-k update, which costs half of a matrix product; on CUDA into a whole matrix.
    Products of float32 keys are exact in float64, so only the sums round, by 2⁻⁵³ each.

    Attributes:
        count: the number of keys that were added.
    """

    def __init__(self, dim: int, device: torch.device):
        home = device if device.type == "cuda" else torch.device("cpu")
        self.count = 0
        self._block = torch.empty(BLOCK, dim, dtype=torch.float64, device=home)
        self._filled = 0
        self._sum = torch.zeros(dim, dim, dtype=torch.float64, device=home)

    def add(self, keys: Tensor) -> None:
        """Add keys ``(n, d_in)`` of any floating dtype, from any device."""
        self.count += len(keys)
        while len(keys):
            taken = min(BLOCK - self._filled, len(keys))
            self._block[self._filled : self._filled + taken].copy_(keys[:taken])
            self._filled, keys = self._filled + taken, keys[taken:]
            if self._filled == BLOCK:
                self.flush()

    def flush(self) -> None:
        """Multiply what was collected; a sum that goes on from here is that of `restored`."""
        block, self._filled = self._block[: self._filled], 0
        if self._sum.is_cuda:
            self._sum.addmm_(block.T, block)
        elif len(block):
            self._sum = torch.from_numpy(_add_to_lower(self._sum.numpy(), block.numpy()))

    def is_finite(self) -> bool:
        """Whether every key so far was: a NaN or infinity stays in the sum of its square."""
        self.flush()
        return bool(torch.isfinite(self._sum.diagonal()).all())

    def moment(self) -> SecondMoment:
        """The moment of all keys so far, ``(d_in, d_in)``, on the device of the sum."""
        self.flush()
        lower = torch.tril(self._sum)
        return SecondMoment(lower + torch.tril(lower, -1).T, self.count)

    def state(self) -> NDArray[np.float64]:
        """What `restored` needs besides the count: the sum, of which the lower triangle counts."""
        self.flush()
        return np.asarray(self._sum.cpu().numpy())

    @classmethod
    def restored(cls, state: NDArray[Any], count: int, device: torch.device) -> OuterSum:
        """A sum that goes on, to the bit, as the one did that `state` was taken of."""
        found = cls(len(state), device)
        found._sum.copy_(torch.from_numpy(state))
        found.count = count
        return found


def _add_to_lower(total: NDArray[Any], block: NDArray[Any]) -> NDArray[Any]:
    # The transpose of a C array is a Fortran array, which BLAS changes in place; its upper triangle is
    # our lower one.
    updated: NDArray[Any] = dsyrk(1.0, block.T, beta=1.0, c=total.T, overwrite_c=1)
    return updated.T
