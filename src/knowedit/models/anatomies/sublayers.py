"""Which modules of a block are its attention and its MLP: the two whose outputs are what the block adds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from knowedit.models.anatomies.calls import Call
from knowedit.models.projection import STORED_TRANSPOSED

CLOSE = 1e-4
"""How far, relative to the largest number, a sum may be from what it should be to be tried at all."""


@dataclass(eq=False)
class _Value:
    """A tensor of the block's shape that some modules put out.

    Attributes:
        tensor: ``(rows times tokens, width)``.
        calls: the modules in the order in which they were entered, so the outermost first.
    """

    tensor: Tensor
    calls: list[Call]

    @property
    def made(self) -> int:
        """When it was there first."""
        return min(call.left for call in self.calls)


def find_sublayers(block: Call, calls: list[Call], numbers: list[float]) -> list[dict[str, Any]]:
    """Every pair of modules whose outputs add up to what the block adds, in either role.

    Args:
        block: a call of a block.
        calls: all calls of the forward.
        numbers: what the outputs may be multiplied with, besides 1.

    Returns:
        For each pair the fields of an `Anatomy` that it settles.
    """
    inside = [call for call in calls if call.within(block.path) and block.entered < call.entered < block.left]
    assert block.input is not None
    assert block.output is not None
    added = _flat(block.output).double() - _flat(block.input).double()
    pairs = combinations(_values(block, inside), 2)
    fitting = [(*pair, scale) for pair in pairs for scale in _scales(pair, added, numbers)]
    both = (found for one, two, scale in fitting for found in ((one, two, scale), (two, one, scale)))
    made = (_with_projections(block, inside, *found) for found in both)
    return [fields for fields in made if fields is not None]


def _flat(value: Tensor) -> Tensor:
    return value.cpu().flatten(0, -2)


def _values(block: Call, inside: list[Call]) -> list[_Value]:
    """What modules of the block put out in the shape of its states, each once."""
    assert block.output is not None
    found: list[_Value] = []
    for call in inside:
        if call.output is None or call.output.ndim < 2 or not call.output.is_floating_point():
            continue
        tensor = _flat(call.output)
        if tensor.shape != _flat(block.output).shape:
            continue
        alike = [value for value in found if torch.equal(value.tensor, tensor)]
        if alike:
            alike[0].calls.append(call)
        else:
            found.append(_Value(tensor, [call]))
    return found


def _scales(pair: tuple[_Value, ...], added: Tensor, numbers: list[float]) -> Iterator[float]:
    total = sum((value.tensor.double() for value in pair), torch.zeros_like(added))
    size = float(added.abs().max())
    close = max(CLOSE, 16 * torch.finfo(pair[0].tensor.dtype).eps)
    for scale in (1.0, *numbers):
        if float((total * scale - added).abs().max()) <= close * size:
            yield scale
            return


def _with_projections(
    block: Call, inside: list[Call], attention: _Value, mlp: _Value, scale: float
) -> dict[str, Any] | None:
    """The pair with the projections that lead to each; None where one of them has none that fit."""
    width = attention.tensor.shape[-1]
    linear = sorted(
        (c for c in inside if isinstance(c.module, tuple(STORED_TRANSPOSED))), key=lambda c: c.left
    )
    first, second = sorted((attention.made, mlp.made))
    early = [call for call in linear if call.left <= first]
    late = [call for call in linear if first < call.left <= second]
    in_attention, in_mlp = (early, late) if attention.made < mlp.made else (late, early)
    out, down = _last(in_attention, width), _last(in_mlp, width)
    if out is None or down is None:
        return None
    into = [call for call in in_attention if call.left < out.left and _sizes(call)[0] == width]
    up = [call for call in in_mlp if call.left < down.left and _sizes(call)[0] == width]
    if not into or not up:
        return None
    name = _namer(block)
    return {
        "attention": name(attention.calls[0]),
        "attention_in": tuple(map(name, into)),
        "attention_out": name(out),
        "mlp": name(mlp.calls[0]),
        "mlp_up": name(up[-1]),
        "mlp_down": name(down),
        "residual_scale": scale,
    }


def _namer(block: Call) -> Any:
    return lambda call: call.path.removeprefix(f"{block.path}.")


def _last(calls: list[Call], width: int) -> Call | None:
    fitting = [call for call in calls if _sizes(call)[1] == width]
    return fitting[-1] if fitting else None


def _sizes(call: Call) -> tuple[int, int]:
    """The lengths that go into and come out of a projection; from its weight, as its type stores it."""
    transposed = next(t for kind, t in STORED_TRANSPOSED.items() if isinstance(call.module, kind))
    shape: tuple[int, ...] = tuple(call.module.weight.shape)  # type: ignore[arg-type]
    return (shape[0], shape[1]) if transposed else (shape[1], shape[0])
