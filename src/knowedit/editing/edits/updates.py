"""What an edit changes: updates, low-rank or dense, at canonical addresses."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor

from knowedit.errors import InputError, ShapeError
from knowedit.linalg import LowRank
from knowedit.models import LanguageModel, Projection
from knowedit.models.overlays import Change

TensorName = Literal["weight", "bias"]


class Address(NamedTuple):
    """Where a tensor is, under the same name in every family.

    Attributes:
        layer: the block's number.
        part: the projection's name in the anatomy, for instance ``mlp_down``.
        tensor: ``weight`` or ``bias``.
    """

    layer: int
    part: str
    tensor: TensorName = "weight"

    def __str__(self) -> str:
        return f"layer {self.layer} {self.part}" + (" bias" if self.tensor == "bias" else "")


AnyAddress: TypeAlias = Address | tuple[int, str] | tuple[int, str, TensorName]
"""An address as it may be given: ``(5, "mlp_down")`` is the weight, ``(5, "mlp_down", "bias")`` the bias."""


@dataclass(frozen=True, eq=False)
class Dense:
    """A change of a whole weight ``(d_out, d_in)`` or bias ``(d_out,)``.

    Attributes:
        matrix: the change, kept in float32 or float64; narrower formats are widened, which loses nothing.
        dtype: the dtype of the tensor that the change belongs to.

    Raises:
        ShapeError: not a floating point matrix or vector.
    """

    matrix: Tensor
    dtype: torch.dtype

    def __post_init__(self) -> None:
        if self.matrix.ndim not in (1, 2) or not self.matrix.is_floating_point():
            raise ShapeError(
                f"a dense update is a floating point weight (d_out, d_in) or bias (d_out,), found shape "
                f"{tuple(self.matrix.shape)} of {self.matrix.dtype}: give W_new - W in float32 or float64"
            )
        wide = self.matrix.dtype in (torch.float32, torch.float64)
        kept = self.matrix.detach() if wide else self.matrix.detach().float()
        object.__setattr__(self, "matrix", kept)

    @property
    def shape(self) -> tuple[int, ...]:
        """``(d_out, d_in)`` or ``(d_out,)``."""
        return tuple(self.matrix.shape)

    @property
    def rank(self) -> int:
        """An upper bound of the matrix rank: the shorter side."""
        return min(self.shape) if self.matrix.ndim == 2 else 1

    def materialise(self, dtype: torch.dtype | None = None) -> Tensor:
        """The change in ``dtype``, by default that of the tensor it belongs to."""
        return self.matrix.to(self.dtype if dtype is None else dtype)

    def frobenius_norm(self) -> float:
        """The root of the sum of squares, in the units of the weight."""
        return float(self.matrix.double().norm())


Update: TypeAlias = LowRank | Dense
"""What is added to a weight."""


LOW_RANK: Final = "low-rank"
DENSE: Final = "dense"
"""The kind of an update that is no product of two thin matrices, see `kind_of`."""


def kind_of(update: Update) -> str:
    """`LOW_RANK` or `DENSE`, as files and people are told."""
    return LOW_RANK if isinstance(update, LowRank) else DENSE


class Updates(Mapping[AnyAddress, Update]):
    """Address to update, in the order given; ``updates[5, "mlp_down"]`` finds the weight's.

    Raises:
        InputError: an address that is not one, or an update of a bias that is not a `Dense` vector.
    """

    def __init__(self, updates: Mapping[Any, Update]) -> None:
        self._by_address = {_address(key): update for key, update in updates.items()}
        for address, update in self._by_address.items():
            vector = len(update.shape) == 1
            if vector != (address.tensor == "bias"):
                raise InputError(
                    f"the update of the {address.tensor} at {address} has shape {update.shape}: "
                    'a weight takes (d_out, d_in), a bias (layer, part, "bias") a Dense of shape (d_out,)'
                )

    def __getitem__(self, address: AnyAddress) -> Update:
        return self._by_address[_address(address)]

    def __iter__(self) -> Iterator[Address]:
        return iter(self._by_address)

    def __len__(self) -> int:
        return len(self._by_address)

    def __repr__(self) -> str:
        return f"Updates({self})"

    def __str__(self) -> str:
        told = (f"{address} {_described(update)}" for address, update in self._by_address.items())
        return ", ".join(told)

    def frobenius_norm(self) -> float:
        """The root of the sum of squares over all addresses."""
        return math.hypot(*(update.frobenius_norm() for update in self._by_address.values()))

    def changes(self, lm: LanguageModel) -> dict[str, Change]:
        """What adds each update to the parameter at its address, by the parameter's full name.

        Raises:
            InputError: the model has no such parameter; or, once the change is made, it has another shape.
        """
        return {
            path_of(lm, address): partial(_plus, lm.projection(address.layer, address.part), update)
            for address, update in self._by_address.items()
        }

    def plus(self, other: Updates) -> Updates:
        """Both, added where they have an address in common: low-rank if both are, with the ranks added.

        Raises:
            InputError: two updates of one address have different shapes.
        """
        total = dict(self._by_address)
        for address, update in other._by_address.items():
            total[address] = _sum(total[address], update) if address in total else update
        return Updates(total)

    def cut(self, rank: int) -> tuple[Updates, dict[Address, float]]:
        """The nearest updates of at most ``rank`` (Eckart and Young), and ‖difference‖ / ‖update‖ of those cut.

        What is of that rank already, and a bias, stays as it is.
        """
        cut = {address: _cut(update, rank) for address, update in self._by_address.items()}
        lost = {address: error for address, (new, error) in cut.items() if new is not self[address]}
        return Updates({address: new for address, (new, _) in cut.items()}), lost


def _address(given: Any) -> Address:
    try:
        found = Address(*given)
    except TypeError:
        found = None
    if found is None or not isinstance(found.layer, int) or found.tensor not in ("weight", "bias"):
        raise InputError(
            f"{given!r} is not an address: give (layer, part), for instance (5, 'mlp_down'), "
            "or (layer, part, 'bias')"
        )
    return found


class Place(NamedTuple):
    """How the base model keeps the tensor of an update: all that an export has to know of it.

    Attributes:
        module: the path of the module that holds the tensor, for instance ``transformer.h.5.mlp.c_proj``.
        transposed: whether its weight is stored as (in, out), as `Conv1D` does.
    """

    module: str
    transposed: bool

    @classmethod
    def of(cls, projection: Projection) -> Place:
        """The place of a projection's tensors."""
        return cls(projection.path, projection.transposed)


def path_of(lm: LanguageModel, address: Address) -> str:
    """The full name of the parameter at an address, for instance ``transformer.h.5.mlp.c_proj.weight``.

    Raises:
        InputError: the model has no such layer, projection or bias.
    """
    projection = lm.projection(address.layer, address.part)
    if address.tensor == "bias" and projection.bias is None:
        raise InputError(f"{projection.path} has no bias, the edit changes one: it belongs to another model")
    return f"{projection.path}.{address.tensor}"


def _described(update: Update) -> str:
    return "dense" if isinstance(update, Dense) else f"rank {update.rank}"


def _plus(projection: Projection, update: Update, total: Tensor) -> Tensor:
    """``total``, a float64 tensor as the layer stores it, plus an update."""
    tensor = projection.bias if len(update.shape) == 1 else projection.weight
    shape = None if tensor is None else tuple(tensor.shape)
    if update.shape != shape:
        raise InputError(
            f"the update of {projection.path} has shape {update.shape}, its tensor {shape}: "
            "the edit belongs to another model"
        )
    full: Tensor = _moved(update, projection.parameter.device).materialise(torch.float64)
    return total + (full if full.ndim == 1 else projection.to_storage(full))


def _moved(update: Update, device: torch.device | str) -> Update:
    if isinstance(update, Dense):
        return Dense(update.matrix.to(device), update.dtype)
    return LowRank(update.left.to(device), update.right.to(device), update.dtype)


def _sum(first: Update, second: Update) -> Update:
    if first.shape != second.shape:
        raise InputError(
            f"two updates of one tensor have the shapes {first.shape} and {second.shape}: they belong to "
            "different models"
        )
    first, second = _moved(first, "cpu"), _moved(second, "cpu")
    if isinstance(first, LowRank) and isinstance(second, LowRank):
        return first + second
    total = first.materialise(torch.float64) + second.materialise(torch.float64)
    return Dense(total, first.dtype)


def _cut(update: Update, rank: int) -> tuple[Update, float]:
    if len(update.shape) == 1 or (isinstance(update, LowRank) and update.rank <= rank):
        return update, 0.0
    if isinstance(update, LowRank):
        cut = update.recompressed(rank=rank)
    else:
        cut = LowRank.from_dense(update.materialise(torch.float64), rank=rank, dtype=update.dtype)
    return cut.update, cut.error
