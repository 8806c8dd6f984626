"""One forward with a note of every call of a module: what came in, what came out, and in which order."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(eq=False)
class Call:
    """A call of a module in a forward.

    Attributes:
        path: the module's path from the model.
        module: the module.
        entered: when it began, counted over all calls' beginnings and ends.
        left: when it ended.
        input: the first tensor of real numbers that it was given, a copy; None where there is none.
        output: the tensor that it returned, alone or first of several, a copy; None for anything else.
        shapes: the shapes of the tensors among its arguments, by name or by place.
    """

    path: str
    module: nn.Module
    entered: int
    left: int = -1
    input: Tensor | None = None
    output: Tensor | None = None
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def within(self, path: str) -> bool:
        """Whether the module is a part of the one at ``path``."""
        return self.path.startswith(f"{path}.")


@torch.no_grad()
def note_calls(model: Any, ids: Tensor) -> tuple[list[Call], Any]:
    """Every call in the order of their beginnings, and what the model returned.

    Args:
        model: a transformers model in eval mode.
        ids: ``(rows, tokens)``.
    """
    calls: list[Call] = []
    with ExitStack() as stack:
        for handle in _hooks(model, calls):
            stack.callback(handle.remove)
        found = model(input_ids=ids, use_cache=False, return_dict=True)
    return calls, found


def _hooks(model: Any, calls: list[Call]) -> Iterator[Any]:
    clock, open_calls = count(), list[Call]()

    def entering(path: str, module: nn.Module) -> Any:
        def hook(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            given = {str(place): value for place, value in enumerate(args)} | kwargs
            tensors = {name: value for name, value in given.items() if isinstance(value, Tensor)}
            real = (value for value in tensors.values() if value.is_floating_point())
            shapes = {name: tuple(value.shape) for name, value in tensors.items()}
            call = Call(path, module, next(clock), input=_copy(next(real, None)), shapes=shapes)
            calls.append(call)
            open_calls.append(call)

        return hook

    def leaving(_module: nn.Module, _args: Any, output: Any) -> None:
        call = open_calls.pop()
        call.left = next(clock)
        call.output = _copy(output[0] if isinstance(output, tuple | list) and output else output)

    for path, module in model.named_modules():
        if path:
            yield module.register_forward_pre_hook(entering(path, module), with_kwargs=True)
            yield module.register_forward_hook(leaving)


def _copy(value: Any) -> Tensor | None:
    # A copy: some families add to a module's output in place.
    return value.detach().clone() if isinstance(value, Tensor) else None
