"""What an edit changes: updates, low-rank or dense, at canonical addresses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor

from knowedit.errors import InputError, ShapeError
from knowedit.linalg import LowRank
from knowedit.models import LanguageModel, Projection
from knowedit.models.overlays import Slot, rounded

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


LOW_RANK: Final = "low-rank"
DENSE: Final = "dense"


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
        return f"Updates({self._by_address!r})"


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


@dataclass(frozen=True)
class Place:
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


def slot_of(lm: LanguageModel, address: Address) -> Slot:
    """The parameter at an address.

    Raises:
        InputError: the model has no such layer, projection or bias.
    """
    projection = lm.projection(address.layer, address.part)
    if address.tensor == "bias" and projection.bias is None:
        raise InputError(f"{projection.path} has no bias, the edit changes one: it belongs to another model")
    return Slot(f"{projection.path}.{address.tensor}", projection.module, address.tensor)


def as_stored(projection: Projection, update: Update) -> Tensor:
    """An update in float64, on the weight's device and in the orientation the layer stores it in.

    Raises:
        InputError: the update has another shape than the tensor.
    """
    tensor = projection.bias if len(update.shape) == 1 else projection.weight
    shape = None if tensor is None else tuple(tensor.shape)
    if update.shape != shape:
        raise InputError(
            f"the update of {projection.path} has shape {update.shape}, its tensor {shape}: "
            "the edit belongs to another model"
        )
    full: Tensor = moved(update, projection.parameter.device).materialise(torch.float64)
    return full if full.ndim == 1 else projection.to_storage(full)


def moved(update: Update, device: torch.device | str) -> Update:
    """The update with its tensors on a device."""
    if isinstance(update, Dense):
        return Dense(update.matrix.to(device), update.dtype)
    return LowRank(update.left.to(device), update.right.to(device), update.dtype)


def edited_weight(projection: Projection, update: Update) -> Tensor:
    """The projection's weight as it stands with the update added, as the model stores it; nothing is changed.

    Raises:
        InputError: the update has another shape.
        NumericalError: the sum overflows the weight's number format.
    """
    weight = projection.parameter.detach()
    total = weight.double() + as_stored(projection, update)
    return rounded(projection.path, total, weight.dtype)


def added(first: Update, second: Update) -> Update:
    """The sum of two updates of one tensor: low-rank if both are, with the ranks added.

    Raises:
        InputError: different shapes.
    """
    if first.shape != second.shape:
        raise InputError(
            f"two updates of one tensor have the shapes {first.shape} and {second.shape}: they belong to "
            "different models"
        )
    first, second = moved(first, "cpu"), moved(second, "cpu")
    if isinstance(first, LowRank) and isinstance(second, LowRank):
        return first + second
    total = first.materialise(torch.float64) + second.materialise(torch.float64)
    return Dense(total, first.dtype)


def truncated(update: Update, rank: int) -> tuple[Update, float]:
    """The nearest update of at most ``rank`` (Eckart and Young), and ‖difference‖ / ‖update‖, Frobenius.

    What is of that rank already, and a bias, comes back as it is, with error 0.
    """
    if len(update.shape) == 1 or (isinstance(update, LowRank) and update.rank <= rank):
        return update, 0.0
    if isinstance(update, LowRank):
        cut = update.recompressed(rank=rank)
    else:
        cut = LowRank.from_dense(update.materialise(torch.float64), rank=rank, dtype=update.dtype)
    return cut.update, cut.error
