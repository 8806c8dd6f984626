"""Changes that lie over a model's weights and can be removed in any order, bit for bit.

A changed weight is never changed back by arithmetic. The model's own tensor is kept aside, and whatever lies
over it is computed from it anew: own tensor in float64, plus the changes in the order in which they were
added, rounded once. With nothing left over it, the own tensor itself is put back.

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


class Overlay:
    """Changes that are added and removed together; an overlay equals itself alone.

    Attributes:
        changes: what is changed and how, by the tensor's full name: ``transformer.h.5.mlp.c_proj.weight``.
        source: what the changes come from; only carried along.
    """

    def __init__(self, changes: Mapping[str, Change], source: Any = None) -> None:
        self.changes = changes
        self.source = source


@dataclass(frozen=True, eq=False)
class _Covered:
    """A parameter with something over it: its own tensor, and the one that was put in its place."""

    path: str
    parameter: nn.Parameter
    own: Tensor
    stand_in: Tensor  # held, so that no other tensor can get its address
    version: int

    def check(self, model: nn.Module) -> None:
        here = _at(model, self.path)
        alike = (here.dtype, here.device, here.data_ptr()) == (
            self.stand_in.dtype,
            self.stand_in.device,
            self.stand_in.data_ptr(),
        )
        if here is not self.parameter or not alike or _version(here) != self.version:
            raise InputError(
                f"{self.path} was moved, converted, replaced or written to while an edit was applied, so it "
                "is not known which tensor to put back: remove edits before you change the model, and "
                "load this one again"
            )


class _Pile:
    """What lies over one model, in the order in which it was added."""

    def __init__(self) -> None:
        self.overlays: tuple[Overlay, ...] = ()
        self.covered: tuple[_Covered, ...] = ()

    def __reduce__(self) -> tuple[type[_Pile], tuple[()]]:
        return _Pile, ()  # a copy, deep or from a file, has nothing over it

    def own(self, model: nn.Module, tensor: Tensor) -> Tensor:
        """The tensor that is the model's own where ``tensor`` is now."""
        for covered in self.covered:
            if tensor is covered.parameter or tensor is _at(model, covered.path):
                covered.check(model)
                return covered.own
        return tensor

    def become(self, model: nn.Module, overlays: tuple[Overlay, ...]) -> None:
        """Have exactly ``overlays`` over the model; only parameters whose changes differ change. All of it or nothing.

        The tensors are all computed before the first is put in place.
        """
        paths = {_at(model, path): path for path in _differing(self.overlays, overlays)}
        own = {parameter: self.own(model, parameter).detach() for parameter in paths}
        new = {p: _covering(path, own[p], _changes_of(model, p, overlays)) for p, path in paths.items()}
        old = {parameter: parameter.data for parameter in paths}
        before = self.overlays, self.covered
        try:
            for parameter, tensor in new.items():
                parameter.data = own[parameter] if tensor is None else tensor
            rest = tuple(covered for covered in self.covered if covered.parameter not in new)
            added = (
                _Covered(paths[p], p, own[p], tensor, _version(p))
                for p, tensor in new.items()
                if tensor is not None
            )
            self.overlays, self.covered = overlays, (*rest, *added)
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
    """What lies over a model, the first added first."""
    return _pile(model).overlays


def set_overlays(model: nn.Module, overlays: Iterable[Overlay]) -> None:
    """Have exactly these changes over the model, in this order. After an error the model is as it was.

    ``set_overlays(model, (*overlays_on(model), overlay))`` adds one.

    Raises:
        InputError: a tensor was moved, converted or written to while something lay over it.
        NumericalError: a new value overflows the tensor's number format, or a weight is not finite.
    """
    _pile(model).become(model, tuple(overlays))


def own_tensor(model: nn.Module, tensor: Tensor) -> Tensor:
    """The model's own tensor under whatever lies over it; the tensor itself where nothing does.

    Raises:
        InputError: it was moved, converted or written to while something lay over it.
    """
    return _pile(model).own(model, tensor)


def _pile(model: nn.Module) -> _Pile:
    found = model.__dict__.get(NOTE)
    return found if isinstance(found, _Pile) else _Pile()


def _at(model: nn.Module, path: str) -> nn.Parameter:
    where, _, name = path.rpartition(".")
    found: nn.Parameter = getattr(model.get_submodule(where), name)
    return found


def _differing(old: Iterable[Overlay], new: Iterable[Overlay]) -> list[str]:
    """The names of the parameters to which the two add different changes."""
    before, after = _by_path(old), _by_path(new)
    return [path for path in {**before, **after} if before.get(path) != after.get(path)]


def _by_path(overlays: Iterable[Overlay]) -> dict[str, list[Change]]:
    found: dict[str, list[Change]] = {}
    for path, change in (pair for overlay in overlays for pair in overlay.changes.items()):
        found.setdefault(path, []).append(change)
    return found


def _changes_of(model: nn.Module, parameter: nn.Parameter, overlays: Iterable[Overlay]) -> list[Change]:
    every = (pair for overlay in overlays for pair in overlay.changes.items())
    return [change for path, change in every if _at(model, path) is parameter]


def _covering(path: str, own: Tensor, changes: Iterable[Change]) -> Tensor | None:
    """The own tensor with the changes added in order in float64, rounded once; None if there are none."""
    found: Tensor | None = None
    with torch.no_grad(), torch.inference_mode(own.is_inference()):  # a parameter stays the kind it is
        for change in changes:
            found = change(own.double() if found is None else found)
        return None if found is None else rounded(path, found, own.dtype)


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
            "or remove another edit first"
        )
    return result


def _version(tensor: Tensor) -> int:
    """How often it was written to; one made in inference mode keeps no count."""
    return 0 if tensor.is_inference() else int(tensor._version)
