"""Sites in a model and functions put on them: the only place that registers hooks.

A block returns a tensor in one family and a tuple in another, and an attention is called with
positional arguments in one and keywords in another; what is put on a site never notices.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from knowedit.errors import InputError

if TYPE_CHECKING:
    from knowedit.models.language_model import LanguageModel

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


def first(output: Any) -> Any:
    """The tensor of an output that may be a tensor or a tuple beginning with it."""
    return output[0] if isinstance(output, tuple) else output


def attach(lm: LanguageModel, site: Site, function: Change) -> RemovableHandle:
    """Let ``function`` replace the tensor at ``site``; the caller removes the handle.

    Raises:
        InputError: no such layer, part or side.
    """
    module = lm.module(site.part, site.layer)
    if site.at == "output":
        return module.register_forward_hook(_output_hook(function))
    if site.at == "input":
        return module.register_forward_pre_hook(_input_hook(function), with_kwargs=True)
    raise InputError(f"a site is at 'output' or 'input', not at {site.at!r}")


def _output_hook(function: Change) -> Callable[[nn.Module, Any, Any], Any]:
    def hook(_module: nn.Module, _args: Any, output: Any) -> Any:
        new = function(first(output))
        return (new, *output[1:]) if isinstance(output, tuple) else new

    return hook


def _input_hook(function: Change) -> Callable[[nn.Module, Any, Any], Any]:
    def hook(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if args:
            return (function(args[0]), *args[1:]), kwargs
        return args, kwargs | {"hidden_states": function(kwargs["hidden_states"])}

    return hook


@contextmanager
def hooked(lm: LanguageModel, site: Site, function: Change) -> Iterator[None]:
    """`attach` for the length of a ``with``; the hook is gone after any exit."""
    handle = attach(lm, site, function)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def replaced(module: nn.Module, forward: Callable[..., Any]) -> Iterator[None]:
    """Call ``forward`` in place of a module's own; its hooks run all the same. Undone after any exit."""
    # Not by setattr: what the instance had, for instance from a library that spreads models over devices, comes back.
    own = {name: value for name, value in vars(module).items() if name == "forward"}
    vars(module)["forward"] = forward
    try:
        yield
    finally:
        del vars(module)["forward"]
        vars(module).update(own)
