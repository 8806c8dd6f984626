"""One weight matrix of a model, turned so that it always maps columns: ``W @ x + b``.

Which way a layer stores its weight is decided by the layer's type and never by its shape: a square
matrix looks the same both ways.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from knowedit.errors import InputError

# Whether the stored weight is (in, out), the transpose of W.
STORED_TRANSPOSED: dict[type, bool] = {Conv1D: True, nn.Linear: False}


@dataclass(frozen=True, eq=False)
class Projection:
    """The weight and bias of a `Conv1D` or `Linear` at the canonical address ``(layer, part)``.

    Attributes:
        layer: the block's number.
        part: the part's name in the anatomy, for instance ``mlp_down``.
        path: the module's path in the model.
        module: the layer itself.
        transposed: whether the layer stores (in, out).
    """

    layer: int
    part: str
    path: str
    module: nn.Module
    transposed: bool

    @classmethod
    def of(cls, module: nn.Module, layer: int, part: str, path: str) -> Projection:
        """The `Projection` of a layer.

        Raises:
            InputError: a type whose orientation is not known, or a weight that is not a plain matrix
                of floating point numbers (quantised, adapted, parametrised).
        """
        kinds = [kind for kind in STORED_TRANSPOSED if isinstance(module, kind)]
        if not kinds:
            known = ", ".join(kind.__name__ for kind in STORED_TRANSPOSED)
            raise InputError(
                f"{path} is a {type(module).__name__}, whose weight orientation is not known (known: {known}): "
                "merge adapters or load the model unquantised"
            )
        weight = module.weight
        if not isinstance(weight, nn.Parameter) or weight.ndim != 2 or not weight.is_floating_point():
            raise InputError(
                f"{path} ({type(module).__name__}) has no plain floating point matrix as its weight: "
                "load the model unquantised"
            )
        return cls(layer, part, path, module, STORED_TRANSPOSED[kinds[0]])

    @property
    def address(self) -> tuple[int, str]:
        """``(layer, part)``: the same name for the same place in every family."""
        return self.layer, self.part

    @property
    def parameter(self) -> nn.Parameter:
        """The weight as the model stores it."""
        weight = self.module.weight
        assert isinstance(weight, nn.Parameter)
        return weight

    @property
    def weight(self) -> Tensor:
        """The weight as ``(d_out, d_in)``: a view of `parameter`, on which writing changes the model."""
        return self.parameter.T if self.transposed else self.parameter

    @property
    def bias(self) -> nn.Parameter | None:
        """The bias ``(d_out,)``, or None."""
        bias = getattr(self.module, "bias", None)
        assert bias is None or isinstance(bias, nn.Parameter)
        return bias

    @property
    def d_out(self) -> int:
        """The length of the output."""
        return int(self.weight.shape[0])

    @property
    def d_in(self) -> int:
        """The length of the input."""
        return int(self.weight.shape[1])

    def to_storage(self, matrix: Tensor) -> Tensor:
        """A ``(d_out, d_in)`` matrix as this layer would store it: a view.

        Raises:
            InputError: another shape, so also a matrix that is already in storage orientation
                (which cannot be seen when it is square).
        """
        if tuple(matrix.shape) != (self.d_out, self.d_in):
            raise InputError(
                f"{self.path} has a weight of (d_out, d_in) = {(self.d_out, self.d_in)}, "
                f"a matrix of shape {tuple(matrix.shape)} was given: transpose it"
            )
        return matrix.T if self.transposed else matrix

    def apply(self, x: Tensor) -> Tensor:
        """``W x + b`` on the last axis: ``(..., d_in)`` to ``(..., d_out)``, as the module does it."""
        return torch.nn.functional.linear(x, self.weight, self.bias)
