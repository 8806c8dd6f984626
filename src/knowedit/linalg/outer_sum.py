"""The sum of k kᵀ over keys that come in pieces of any length: float64, in blocks, in place."""

from __future__ import annotations

from typing import Any

import array_api_compat
from scipy.linalg.blas import dsyrk

from knowedit.linalg._arrays import Array, Host, as_float64, from_host, to_host

BLOCK = 2048
"""Keys that are collected before they are multiplied: long enough for BLAS to be at its full speed."""


class OuterSum:
    """A running sum, changed by every call without a copy of the matrix; `SecondMoment` is the value.

    Keys are widened to float64 and collected in a block. On the host a full block goes into one triangle by a
    rank-k update, which costs half of a matrix product. A sum that begins on a GPU (PyTorch's CUDA, CuPy) stays
    there and is a whole matrix. Products of float32 keys are exact in float64, so only the sums round, by 2⁻⁵³ each.

    Args:
        start: (d_in, d_in), finite: the sum so far, of which the lower triangle counts; it is copied.
        count: its number of keys.

    Attributes:
        count: the number of keys, those of `start` included.
    """

    def __init__(self, start: Array, count: int = 0):
        self.count = count
        self._like = start
        torch_cuda = array_api_compat.is_torch_array(start) and start.is_cuda
        self._on_host = not (torch_cuda or array_api_compat.is_cupy_array(start))
        begun = self._at_home(start)
        xp = array_api_compat.array_namespace(begun)
        self._sum = xp.asarray(begun, copy=True)
        shape = (BLOCK, int(start.shape[0]))
        self._block = xp.empty(shape, dtype=xp.float64, device=array_api_compat.device(begun))
        self._filled = 0

    def add(self, keys: Array) -> None:
        """Add keys ``(n, d_in)`` of any floating dtype, from any device; they may hold NaN or infinity."""
        self.count += int(keys.shape[0])
        while keys.shape[0]:
            taken = min(len(self._block) - self._filled, int(keys.shape[0]))
            self._block[self._filled : self._filled + taken, :] = self._at_home(keys[:taken, :])
            self._filled, keys = self._filled + taken, keys[taken:, :]
            if self._filled == len(self._block):
                self._multiply()

    def is_finite(self) -> bool:
        """Whether every key so far was: a NaN or infinity stays in the sum of its square."""
        self._multiply()
        xp = array_api_compat.array_namespace(self._sum)
        return bool(xp.all(xp.isfinite(xp.linalg.diagonal(self._sum))))

    def total(self) -> Array:
        """The sum of all keys so far, (d_in, d_in), symmetric, float64, in the library and on the device of `start`."""
        self._multiply()
        xp = array_api_compat.array_namespace(self._sum)
        lower = xp.tril(self._sum)
        whole = lower + xp.tril(lower, k=-1).T
        return from_host(whole, self._like) if self._on_host else whole

    def state(self) -> Host:
        """What another sum has to begin with to continue this one to the last bit; it may share memory."""
        self._multiply()
        return to_host("the sum", self._sum)

    def _at_home(self, array: Array) -> Array:
        return to_host("start", array, finite=False) if self._on_host else as_float64(array)

    def _multiply(self) -> None:
        block, self._filled = self._block[: self._filled, :], 0
        if not len(block):
            return
        if self._on_host:
            # The transpose of a C array is a Fortran array, which BLAS changes in place; its upper triangle is
            # our lower one.
            updated: Any = dsyrk(1.0, block.T, beta=1.0, c=self._sum.T, overwrite_c=1)
            self._sum = updated.T
        elif array_api_compat.is_torch_array(block):
            self._sum.addmm_(block.T, block)
        else:
            self._sum += block.T @ block
