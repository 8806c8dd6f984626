"""What lies over a model: the changes in order, the own tensors under them, and how both become others at once.

A changed weight is never changed back by arithmetic. The model's own tensor is kept aside, and whatever lies
over it is the own tensor in float64, plus the changes in the order in which they were added, rounded once. With
nothing left over it, the own tensor itself is put back. From the second change of a tensor on the sum before rounding
is kept (8 bytes for each number), so one more change costs as much as the first, however many are below.
Removing one computes the rest anew.

All new tensors are computed before the first is put in place, and they are put in place by a single call in C. Python
interrupts and switches threads between its own instructions only, so nobody ever sees half of a change.

What lies over a model, and who holds it, is noted on the model (one attribute, there only while there is something to
note), so two `LanguageModel`s of one model agree. A copy of a model, or one read back from a file, has the weights
that it was copied with as its own: nothing lies over it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from itertools import starmap
from operator import call
from threading import RLock
from typing import Any, Final, TypeAlias

import torch
from torch import Tensor, nn

from knowedit.errors import InputError, KnoweditError, NumericalError
from knowedit.models.overlays.holders import Holder

NOTE: Final = "_knowedit_overlays"
PAUSE: Final = 0.002  # seconds between two looks at a model that another thread holds

Change = Callable[[Tensor], Tensor]
"""From a float64 tensor, as the model stores it, to a new one of the same shape with the change added."""

_Changes: TypeAlias = dict[nn.Parameter, tuple[str, tuple[Change, ...]]]
"""The changes of each parameter, in order, and the first of its names."""

_ONE_AT_A_TIME: Final = RLock()
"""Held for the instant in which new tensors are put in place, not while they are computed."""


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
    changes: tuple[Change, ...]
    total: Tensor | None  # float64, before rounding; None for a single change
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


@dataclass(frozen=True, eq=False)
class _State:
    """What lies over a model at one time, and who holds it; never changed, only replaced."""

    overlays: tuple[Overlay, ...] = ()
    covered: Mapping[nn.Parameter, _Covered] = field(default_factory=dict)
    holders: tuple[Holder, ...] = ()

    def own(self, model: nn.Module, tensor: Tensor) -> Tensor:
        """The tensor that is the model's own where ``tensor`` is now."""
        for covered in self.covered.values():
            if tensor is covered.parameter or tensor is _at(model, covered.path):
                covered.check(model)
                return covered.own
        return tensor.detach()  # with its storage of now, whatever another thread puts in place

    def with_overlays(self, model: nn.Module, overlays: tuple[Overlay, ...]) -> _State:
        """The state with exactly ``overlays``; parameters whose changes stay the same keep what they have."""
        kept: Mapping[nn.Parameter, _Covered] = {}
        below = len(self.overlays)
        if overlays[:below] == self.overlays:
            # What is added on top must not cost a look at all that is below.
            changes, kept = self._added(_by_parameter(model, overlays[below:])), self.covered
        else:
            changes = _by_parameter(model, overlays)
            for parameter in self.covered.keys() - changes.keys():
                self.covered[parameter].check(model)
        covered = {parameter: self._cover(model, parameter, *found) for parameter, found in changes.items()}
        return replace(self, overlays=overlays, covered={**kept, **covered})

    def _added(self, more: _Changes) -> _Changes:
        before = {p: self.covered[p].changes if p in self.covered else () for p in more}
        return {p: (path, (*before[p], *changes)) for p, (path, changes) in more.items()}

    def _cover(
        self, model: nn.Module, parameter: nn.Parameter, path: str, changes: tuple[Change, ...]
    ) -> _Covered:
        old = self.covered.get(parameter)
        if old is not None and old.changes == changes:
            return old
        own, done, total = self.own(model, parameter).detach(), 0, None
        if old is not None and old.changes == changes[: len(old.changes)] and old.total is not None:
            done, total = len(old.changes), old.total
        # A parameter stays the kind it is. Only where it has to be, and no no_grad: interrupted on its way out,
        # either would leave its mode on.
        kind = own.is_inference()
        with nullcontext() if kind == torch.is_inference_mode_enabled() else torch.inference_mode(kind):
            total = own.double() if total is None else total
            for change in changes[done:]:
                total = change(total).detach()
            tensor = rounded(path, total, own.dtype)
        kept = total if len(changes) > 1 else None
        return _Covered(path, parameter, own, changes, kept, tensor, _version(parameter))


_NOTHING: Final = _State()


class _Pile:
    """The note on a model: its `_State`, shared by all that refer to the model."""

    def __init__(self) -> None:
        self.state = _NOTHING

    def __reduce__(self) -> tuple[type[_Pile], tuple[()]]:
        return _Pile, ()  # a copy, deep or from a file, has nothing over it

    def become(self, model: nn.Module, old: _State, new: _State) -> bool:
        """Put the new state in place of the old one. All of it or nothing; False if it is no longer the old one."""
        forth = list(self._steps(model, old, new))
        back = list(self._steps(model, new, old))
        with _ONE_AT_A_TIME, torch._C.DisableTorchFunction():
            if self.state is not old or model.__dict__.get(NOTE, self) is not self:
                return False
            try:
                any(starmap(call, forth))  # in C from start to end: every call returns None
            except BaseException:
                any(starmap(call, back))
                raise
        return True

    def _steps(self, model: nn.Module, old: _State, new: _State) -> Iterable[tuple[Any, ...]]:
        """The calls that turn the old state into the new one."""
        for parameter in {**old.covered, **new.covered}:
            before, after = old.covered.get(parameter), new.covered.get(parameter)
            if after is None and before is not None:
                yield setattr, parameter, "data", before.own
            elif after is not None and after is not before:
                yield setattr, parameter, "data", after.stand_in
        yield setattr, self, "state", new
        # Not by setattr: that of a module is Python.
        yield object.__setattr__, model, NOTE, self
        if not (new.overlays or new.holders):
            yield object.__delattr__, model, NOTE


def overlays_on(model: nn.Module) -> tuple[Overlay, ...]:
    """What lies over a model, the first added first."""
    return _pile(model).state.overlays


def change_overlays(
    model: nn.Module,
    change: Callable[[tuple[Overlay, ...]], Iterable[Overlay]],
    *,
    wait: float = 60.0,
    of: Holder | None = None,
) -> None:
    """Have over the model what ``change`` makes of that which lies over it. After an error the model is as it was.

    ``change_overlays(model, lambda below: (*below, overlay))`` adds one.

    Args:
        model: the model.
        change: from the overlays, in order, to those that are wanted. It is called again if they are others by the
            time the new tensors are computed, and may refuse by an error.
        wait: how many seconds to wait for another thread that holds the model.
        of: the holder on whose behalf this is done; by default the thread that runs this. An exit may run in
            another thread than its entry.

    Raises:
        InputError: another thread or task holds the model, or a tensor was moved, converted or written to while
            something lay over it.
        NumericalError: a new value overflows the tensor's number format, or a weight is not finite.
    """
    _become(
        model, lambda old: old.with_overlays(model, tuple(change(old.overlays))), wait, of or Holder.here()
    )


def set_held(model: nn.Module, holder: Holder, held: bool, *, wait: float = 60.0) -> None:
    """Let a thread hold the model, so that no other one can change it, or let go of it, which never waits.

    Raises:
        InputError: another thread or task held the model for ``wait`` seconds.
    """

    def change(old: _State) -> _State:
        others = tuple(other for other in old.holders if other is not holder)
        return replace(old, holders=(*others, holder) if held else others)

    _become(model, change, wait, Holder.here() if held else None)


def own_tensor(model: nn.Module, tensor: Tensor) -> Tensor:
    """The model's own tensor under whatever lies over it now; it stays that if another thread changes the model.

    Raises:
        InputError: it was moved, converted or written to while something lay over it.
    """
    while True:
        state = _pile(model).state
        try:
            found = state.own(model, tensor)
        except InputError:
            if _pile(model).state is state:
                raise
        else:
            if _pile(model).state is state:
                return found


def _become(model: nn.Module, change: Callable[[_State], _State], wait: float, of: Holder | None) -> None:
    """Change what there is; ``of`` has to wait for those who hold the model, None for nobody."""
    deadline = time.monotonic() + wait
    while True:
        pile = _pile(model)
        old = pile.state
        if of is not None and (barring := _barring(old, of)) is not None:
            _pause(barring, deadline, wait)
            continue
        try:
            new = change(old)
        except KnoweditError:
            if _pile(model).state is old:  # else another thread changed the model under this one's eyes
                raise
        else:
            if pile.become(model, old, new):
                return


def _pile(model: nn.Module) -> _Pile:
    found = model.__dict__.get(NOTE)
    return found if isinstance(found, _Pile) else _Pile()


def _barring(state: _State, of: Holder) -> Holder | None:
    """Who keeps ``of`` from changing the model, or None."""
    return next((other for other in reversed(state.holders) if other.bars(of)), None)


def _pause(barring: Holder, deadline: float, wait: float) -> None:
    """Give the holder some time, or refuse: the time is over, or it is a task that cannot go on meanwhile."""
    same_thread = barring.thread is Holder.here().thread
    if same_thread or time.monotonic() >= deadline:
        why = "cannot go on while this one waits" if same_thread else f"was waited for {wait:g} s"
        raise InputError(
            f"the model is held by {barring}, which {why}: let its with-block end first, or wait longer (wait=), "
            "or give each thread a model of its own"
        )
    time.sleep(PAUSE)


def _at(model: nn.Module, path: str) -> nn.Parameter:
    where, _, name = path.rpartition(".")
    found: nn.Parameter = getattr(model.get_submodule(where), name)
    return found


def _by_parameter(model: nn.Module, overlays: Iterable[Overlay]) -> _Changes:
    """The changes of each parameter in order, and the first of its names; two names may be one parameter."""
    paths: dict[nn.Parameter, str] = {}
    found: dict[nn.Parameter, list[Change]] = {}
    for path, change in (pair for overlay in overlays for pair in overlay.changes.items()):
        parameter = _at(model, path)
        paths.setdefault(parameter, path)
        found.setdefault(parameter, []).append(change)
    return {parameter: (paths[parameter], tuple(changes)) for parameter, changes in found.items()}


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
