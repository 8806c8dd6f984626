"""Changes that lie over a model's weights and can be lifted in any order, bit for bit.

A changed weight is never changed back by arithmetic. The model's own tensor is kept aside, and whatever lies
over it is computed from it anew: own tensor in float64, plus the changes in the order in which they were
laid, rounded once. With nothing left over it, the own tensor itself is put back.

What lies over a model is noted on the model (one attribute, there only while something lies over it), so two
`LanguageModel`s of one model agree. A copy of a model, or one read back from a file, has the weights that it was
copied with as its own: nothing lies over it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn

from knowedit.errors import InputError, NumericalError

NOTE: Final = "_knowedit_overlays"

Change = Callable[[Tensor], Tensor]
"""From a float64 tensor, as the model stores it, to a new one of the same shape with the change added."""


@dataclass(frozen=True)
class Slot:
    """A parameter's place in a model.

    Attributes:
        path: the tensor's full name, for instance ``transformer.h.5.mlp.c_proj.weight``.
        module: the module that holds it.
        name: its name in the module.
    """

    path: str
    module: nn.Module
    name: str

    @property
    def tensor(self) -> nn.Parameter:
        """The parameter that is there now."""
        found: nn.Parameter = getattr(self.module, self.name)
        return found


@dataclass(frozen=True, eq=False)
class Overlay:
    """Changes that are laid and lifted together.

    Attributes:
        changes: what is changed and how.
        source: what the changes come from; only carried along.
    """

    changes: Mapping[Slot, Change]
    source: Any = None


@dataclass(frozen=True, eq=False)
class _Covered:
    """A parameter with something over it: its own tensor, and the one that was put in its place."""

    slot: Slot
    parameter: nn.Parameter
    own: Tensor
    stand_in: Tensor  # held, so that no other tensor can get its address
    version: int

    def check(self) -> None:
        here = self.slot.tensor
        alike = (here.dtype, here.device, here.data_ptr()) == (
            self.stand_in.dtype,
            self.stand_in.device,
            self.stand_in.data_ptr(),
        )
        if here is not self.parameter or not alike or _version(here) != self.version:
            raise InputError(
                f"{self.slot.path} was moved, converted, replaced or written to while an edit was applied, so it "
                "is not known which tensor to put back: take edits out before you change the model, and "
                "load this one again"
            )


class _Pile:
    """What lies over one model, in the order in which it was laid."""

    def __init__(self) -> None:
        self.overlays: tuple[Overlay, ...] = ()
        self.covered: tuple[_Covered, ...] = ()

    def __reduce__(self) -> tuple[type[_Pile], tuple[()]]:
        return _Pile, ()  # a copy, deep or from a file, has nothing over it

    def own(self, tensor: Tensor) -> Tensor:
        """The tensor that is the model's own where ``tensor`` is now."""
        for covered in self.covered:
            if tensor is covered.parameter or tensor is covered.slot.tensor:
                covered.check()
                return covered.own
        return tensor

    def become(self, model: nn.Module, overlays: tuple[Overlay, ...], touched: Iterable[Slot]) -> None:
        """Have exactly ``overlays`` over the model; only the touched parameters change. All of it or nothing.

        The tensors are all computed before the first is put in place.
        """
        slots = {slot.tensor: slot for slot in touched}
        own = {parameter: self.own(parameter).detach() for parameter in slots}
        new = {p: _covering(slot, own[p], _changes_of(p, overlays)) for p, slot in slots.items()}
        old = {parameter: parameter.data for parameter in slots}
        before = self.overlays, self.covered
        try:
            for parameter, tensor in new.items():
                parameter.data = own[parameter] if tensor is None else tensor
            rest = tuple(covered for covered in self.covered if covered.parameter not in new)
            laid = (
                _Covered(slots[p], p, own[p], tensor, _version(p))
                for p, tensor in new.items()
                if tensor is not None
            )
            self.overlays, self.covered = overlays, (*rest, *laid)
            self._note(model)
        except BaseException:
            for parameter, tensor in old.items():
                parameter.data = tensor
            self.overlays, self.covered = before
            self._note(model)
            raise

    def _note(self, model: nn.Module) -> None:
        if self.overlays:
            model.__dict__[NOTE] = self
        else:
            model.__dict__.pop(NOTE, None)


def overlays_on(model: nn.Module) -> tuple[Overlay, ...]:
    """What lies over a model, the first laid first."""
    return _pile(model).overlays


def lay(model: nn.Module, overlay: Overlay) -> None:
    """Add changes over whatever lies over the model already. After an error the model is as it was.

    Raises:
        InputError: a tensor was moved, converted or written to while something lay over it.
        NumericalError: a new value overflows the tensor's number format, or a weight is not finite.
    """
    pile = _pile(model)
    pile.become(model, (*pile.overlays, overlay), overlay.changes)


def lift(model: nn.Module, overlay: Overlay) -> None:
    """Take changes out, wherever they lie. After an error the model is as it was.

    Raises:
        InputError: they do not lie over the model, or a tensor was moved, converted or written to since.
        NumericalError: a value without them overflows the tensor's number format.
    """
    pile = _pile(model)
    if overlay not in pile.overlays:
        raise InputError("these changes are not applied to the model: they were taken out already")
    pile.become(model, tuple(other for other in pile.overlays if other is not overlay), overlay.changes)


def own_tensor(model: nn.Module, tensor: Tensor) -> Tensor:
    """The model's own tensor under whatever lies over it; the tensor itself where nothing does.

    Raises:
        InputError: it was moved, converted or written to while something lay over it.
    """
    return _pile(model).own(tensor)


def _pile(model: nn.Module) -> _Pile:
    found = model.__dict__.get(NOTE)
    return found if isinstance(found, _Pile) else _Pile()


def _changes_of(parameter: nn.Parameter, overlays: Iterable[Overlay]) -> list[Change]:
    every = (pair for overlay in overlays for pair in overlay.changes.items())
    return [change for slot, change in every if slot.tensor is parameter]


def _covering(slot: Slot, own: Tensor, changes: Iterable[Change]) -> Tensor | None:
    """The own tensor with the changes added in order in float64, rounded once; None if there are none."""
    found: Tensor | None = None
    with torch.no_grad(), torch.inference_mode(own.is_inference()):  # a parameter stays the kind it is
        for change in changes:
            found = change(own.double() if found is None else found)
        return None if found is None else rounded(slot.path, found, own.dtype)


def rounded(path: str, total: Tensor, dtype: torch.dtype) -> Tensor:
    """A changed tensor in the number format of the model, contiguous.

    Raises:
        NumericalError: a value overflows the format, or is not finite.
    """
    result = total.to(dtype).contiguous()
    if not bool(result.isfinite().all()):
        raise NumericalError(
            f"{path} with its changes has a value of size {float(total.abs().max()):.3g}, "
            f"{str(dtype).removeprefix('torch.')} holds finite numbers only: load the model in a wider format, "
            "or take another edit out first"
        )
    return result


def _version(tensor: Tensor) -> int:
    """How often it was written to; one made in inference mode keeps no count."""
    return 0 if tensor.is_inference() else int(tensor._version)
