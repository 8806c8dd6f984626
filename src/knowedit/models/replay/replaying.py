"""Replay a recording from any block on, with other states, other rows or other weights.

A replay calls the blocks with the arguments that the library handed to them, so it has no mask, rotary or position
logic of its own, and hooks on these blocks still work.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from knowedit.errors import InputError
from knowedit.models.anatomies.anatomy import take_steps
from knowedit.models.forwards import pick
from knowedit.models.language_model import LanguageModel
from knowedit.models.replay.prefix_cache import PrefixCache
from knowedit.models.replay.recording import Recording


def resume(
    recording: Recording,
    layer: int,
    states: Tensor,
    rows: Tensor | None = None,
    *,
    stop: int | None = None,
    cache: PrefixCache | None = None,
    tensors: Mapping[str, Tensor] | None = None,
) -> Tensor:
    """Run the blocks from ``layer`` on, up to and without ``stop``.

    Args:
        recording: whose arguments to use.
        layer: the first block to run; ``n_layers`` runs none.
        states: ``(new rows, tokens, width)``, what goes into that block. Gradients flow through.
        rows: ``(new rows,)``, the recorded row that each new row descends from; by default the same rows,
            or the only one.
        stop: the first block not to run; by default all run.
        cache: keys and values that replace the recorded ones, one row for each new row. So rows that
            differ before the recording's start share its other arguments.
        tensors: what block ``layer`` computes with in place of its own tensors, by their names from the block, as
            it stores them: ``mlp.c_proj.weight``. The model keeps its own; gradients flow to these.

    Returns:
        ``(new rows, tokens, width)``.

    Raises:
        InputError: no such layer, or states or rows that do not fit the recording.
    """
    lm, blocks = recording.lm, list(recording.lm.blocks)
    lm.check_layer(layer, last=len(blocks) if tensors is None else len(blocks) - 1)
    stop = len(blocks) if stop is None else lm.check_layer(stop, last=len(blocks))
    chooser = _RowArguments(recording, states, rows, cache)
    for number in range(layer, stop):
        block, (args, kwargs) = blocks[number], recording.calls[number]
        inputs = (states, *(chooser.named(str(place + 1), value) for place, value in enumerate(args)))
        named = {name: chooser.named(name, value) for name, value in kwargs.items()}
        if tensors is not None and number == layer:
            out = functional_call(block, dict(tensors), inputs, named, strict=False)
        else:
            out = block(*inputs, **named)
        states = out[0] if isinstance(out, tuple) else out
    return states


def read_out(lm: LanguageModel, states: Tensor, positions: Tensor | int | None = None) -> Tensor:
    """Logits of the states after the last block, at ``positions`` (see `pick`).

    Final norm and head, with the scale or soft cap that the model has there.
    """
    normed = lm.module("final_norm")(pick(states, positions))
    logits = lm.module("head")(take_steps(lm.anatomy.before_head, normed))
    logits = take_steps(lm.anatomy.after_head, logits)
    assert isinstance(logits, Tensor)
    return logits


def replay(
    recording: Recording,
    layer: int,
    states: Tensor | None = None,
    rows: Tensor | None = None,
    positions: Tensor | int | None = None,
    *,
    tensors: Mapping[str, Tensor] | None = None,
) -> Tensor:
    """Logits when ``states`` go into block ``layer``: `resume`, then `read_out`.

    ``replay(recording, l)`` is the recorded run. To change what block l adds, continue
    from ``recording.states[l + 1]`` plus the change, with ``layer = l + 1``: a block adds its attention and
    MLP to its input. Whether gradients are kept is the caller's choice.

    Args:
        recording: from `record`.
        layer: see `resume`.
        states: see `resume`; by default the recorded ones.
        rows: see `resume`.
        positions: where logits are wanted: an integer, ``(new rows,)`` or ``(new rows, k)``; all by default.
        tensors: see `resume`. What goes into the block does not depend on them, so the blocks before it do not
            run again.

    Returns:
        ``(new rows, vocabulary)``, ``(new rows, k, vocabulary)`` or ``(new rows, tokens, vocabulary)``.

    Raises:
        InputError: see `resume` and `pick`.
    """
    if states is None:
        recording.lm.check_layer(layer, last=recording.lm.n_layers)
        states = recording.states[layer]
    after = resume(recording, layer, states, rows, tensors=tensors)
    return read_out(recording.lm, after, positions)


class _RowArguments:
    """Turns recorded arguments into those of the new rows; each tensor once, as blocks share them."""

    def __init__(
        self, recorded: Recording, states: Tensor, rows: Tensor | None, cache: PrefixCache | None
    ) -> None:
        count = recorded.batch.rows
        shape = (count, recorded.batch.tokens, recorded.lm.width)
        if states.ndim != 3 or tuple(states.shape[1:]) != shape[1:]:
            raise InputError(f"states of shape {tuple(states.shape)} do not fit the recorded {shape}")
        if rows is None and count not in (1, states.shape[0]):
            raise InputError(
                f"{states.shape[0]} rows against {count} recorded: give rows=, the recorded row of each"
            )
        self.recorded = count
        self.new = int(states.shape[0])
        self.rows = None if rows is None else _checked_rows(rows, self.new, count, states.device)
        if cache is not None and cache.n_rows != self.new:
            raise InputError(f"a KV cache of {cache.n_rows} rows does not fit {self.new} rows of states")
        self.cache = cache
        self.anatomy = recorded.lm.anatomy
        self.done: dict[int, Any] = {}

    def named(self, name: str, value: Any) -> Any:
        """The block's argument of that name, or at that place, of the new rows."""
        if name in self.anatomy.shared:
            return value
        if name in self.anatomy.per_head:
            heads = value.unflatten(0, (self.recorded, -1))
            return self._once(value, lambda: self._select(heads).flatten(0, 1))
        return self(value)

    def __call__(self, value: Any) -> Any:
        """The argument, or the arguments in a tuple or dictionary, of the new rows."""
        if isinstance(value, tuple):
            return tuple(self(part) for part in value)
        if isinstance(value, dict):
            return {name: self(part) for name, part in value.items()}
        if isinstance(value, PrefixCache):
            return self._once(value) if self.cache is None else self.cache
        # What belongs to rows has at least (rows, tokens); a leading 1 is for all rows already.
        if not isinstance(value, Tensor) or value.ndim < 2 or value.shape[0] != self.recorded:
            return value
        return self._once(value)

    def _once(self, value: Any, select: Callable[[], Any] | None = None) -> Any:
        if id(value) not in self.done:
            self.done[id(value)] = self._select(value) if select is None else select()
        return self.done[id(value)]

    def _select(self, value: Any) -> Any:
        if isinstance(value, PrefixCache):
            rows = torch.zeros(self.new, dtype=torch.long) if self.recorded == 1 else self.rows
            return value if rows is None else value.select(rows)
        if self.recorded == 1:
            return value.expand(self.new, *value.shape[1:])
        return value if self.rows is None else value.index_select(0, self.rows.to(value.device))


def _checked_rows(rows: Tensor, new: int, recorded: int, device: torch.device) -> Tensor:
    rows = torch.as_tensor(rows, device=device)
    if rows.shape != (new,) or (new and (int(rows.min()) < 0 or int(rows.max()) >= recorded)):
        raise InputError(
            f"rows must be {new} numbers from 0 to {recorded - 1}, one for each row of the states"
        )
    return rows
