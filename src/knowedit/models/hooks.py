"""Look at, or replace, tensors inside a forward pass: the only place that puts hooks on sites.

A block returns a tensor in one family and a tuple in another, and an attention is called with
positional arguments in one and keywords in another; what is put on a site never notices.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from knowedit.errors import InputError
from knowedit.models.opened import OpenedModel

Change: TypeAlias = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Site:
    """A tensor inside a forward pass: what goes into or comes out of a part.

    ``Site(5, "block")`` is the hidden state after block 5, ``Site(0, "block", "input")`` the sum of token
    and position embedding, ``Site(None, "embedding")`` the token embedding alone, ``Site(5, "mlp")`` and
    ``Site(5, "attention")`` what the sublayers add, ``Site(5, "mlp_down", "input")`` the MLP's keys.

    Attributes:
        layer: the block's number, None for parts of the whole model.
        part: a part's name in the `Anatomy`.
        at: ``output`` or ``input``.
    """

    layer: int | None
    part: str
    at: Literal["output", "input"] = "output"


@contextmanager
def intervene(lm: OpenedModel, changes: Mapping[Site, Change], *, checked: bool = True) -> Iterator[None]:
    """Replace tensors in every forward pass inside the ``with``, replays included.

    Args:
        lm: the model.
        changes: for each site a function that gets the tensor ``(rows, tokens, width)``, a copy of which
            it may write into, and returns the tensor that replaces it. Interventions inside each other work
            in the order in which they were entered.
        checked: give the functions copies and check what they return. Without, they get the model's own
            tensors, into which they must not write, and may return other shapes.

    Raises:
        InputError: no such site; later, in the forward, a function that returns no tensor of the same
            shape, dtype and device. The hooks are gone after any exit.
    """
    with ExitStack() as stack:
        for site, function in changes.items():
            for handle in _attach(lm, site, _checked(site, function) if checked else function):
                stack.callback(handle.remove)
        yield


@contextmanager
def capture(lm: OpenedModel, sites: Iterable[Site]) -> Iterator[dict[Site, Tensor]]:
    """Collect tensors from the forward passes inside the ``with``.

    The dictionary fills during a forward and keeps the latest one's tensors ``(rows, tokens, width)``, with
    their gradient graph if the forward has one. It shows what earlier entered interventions have made.

    Raises:
        InputError: no such site.
    """
    found: dict[Site, Tensor] = {}

    def keep(site: Site) -> Change:
        def look(value: Tensor) -> Tensor:
            found[site] = value.clone()  # some families add to it in place
            return value

        return look

    with intervene(lm, {site: keep(site) for site in sites}, checked=False):
        yield found


def _checked(site: Site, function: Change) -> Change:
    def change(value: Tensor) -> Tensor:
        # A copy: writing into the original would also change what was captured or recorded before.
        new = function(value.clone())
        if not isinstance(new, Tensor) or _kind(new) != _kind(value):
            found = _kind(new) if isinstance(new, Tensor) else type(new).__name__
            raise InputError(
                f"the function at {site} returned {found}, expected {_kind(value)}: return the tensor"
            )
        return new.clone()  # some families add to it in place, and the caller may keep it

    return change


def _kind(value: Tensor) -> str:
    return f"a {value.dtype} tensor of shape {tuple(value.shape)} on {value.device}"


def _attach(lm: OpenedModel, site: Site, function: Change) -> Iterator[RemovableHandle]:
    if site.at not in ("output", "input"):
        raise InputError(f"a site is at 'output' or 'input', not at {site.at!r}")
    module = lm.module(site.part, site.layer)
    if site.layer is not None and site.part != "block":
        shape: list[int] = []
        yield lm.module("block", site.layer).register_forward_pre_hook(_shape_hook(shape), with_kwargs=True)
        function = _in_rows(function, shape)
    if site.at == "output":
        yield module.register_forward_hook(_output_hook(function))
    else:
        yield module.register_forward_pre_hook(_input_hook(function), with_kwargs=True)


def _shape_hook(shape: list[int]) -> Callable[[nn.Module, Any, Any], None]:
    """Notes the rows and tokens that come into a block."""

    def hook(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        shape[:] = (args[0] if args else kwargs["hidden_states"]).shape[:2]

    return hook


def _in_rows(function: Change, shape: list[int]) -> Change:
    """The function on ``(rows, tokens, width)``, also in the families that put all rows' tokens in one axis."""

    def change(value: Tensor) -> Tensor:
        if value.ndim != 2:
            return function(value)
        return function(value.reshape(*shape, value.shape[-1])).reshape(value.shape)

    return change


def _first(output: Any) -> Any:
    """The tensor of an output that may be a tensor or a tuple beginning with it."""
    return output[0] if isinstance(output, tuple) else output


def _output_hook(function: Change) -> Callable[[nn.Module, Any, Any], Any]:
    def hook(_module: nn.Module, _args: Any, output: Any) -> Any:
        new = function(_first(output))
        return (new, *output[1:]) if isinstance(output, tuple) else new

    return hook


def _input_hook(function: Change) -> Callable[[nn.Module, Any, Any], Any]:
    def hook(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if args:
            return (function(args[0]), *args[1:]), kwargs
        return args, kwargs | {"hidden_states": function(kwargs["hidden_states"])}

    return hook
