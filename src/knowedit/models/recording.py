"""Record once, replay from block l.

One ordinary forward records each block's input state and the very arguments the library hands to that
block (mask, position ids, whatever the family has). A replay calls the blocks from l on with the same
arguments, so it has no mask, rotary or position logic of its own, and hooks on these blocks still work.

Tokens before the first one that changes are read once and kept as keys and values; recording and replays
then hold the tokens from there on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from knowedit.errors import InputError
from knowedit.models.arguments import Arguments, Call, RowArguments, new_tokens, noting
from knowedit.models.batches import Batch, Item
from knowedit.models.forwards import pick, run
from knowedit.models.hooks import Change, Site, first, hooked
from knowedit.models.kept_keys import KeptKeys, KeysTaken

if TYPE_CHECKING:
    from knowedit.models.language_model import LanguageModel


@dataclass(frozen=True, eq=False)
class Recording(Arguments):
    """What one forward left behind: its arguments, its states, its logits.

    Attributes:
        states: ``n_layers + 1`` tensors ``(rows, tokens, width)``: ``states[l]`` goes into block l, so
            ``states[l + 1]`` is the state after block l and ``states[-1]`` goes into the final norm.
        logits: ``(rows, vocabulary)`` after each row's last real token.
    """

    states: tuple[Tensor, ...]
    logits: Tensor


@torch.no_grad()
def record(
    lm: LanguageModel,
    items: Sequence[Item] | Batch,
    *,
    start: Tensor | Sequence[int] | int = 0,
    kept: KeptKeys | None = None,
) -> Recording:
    """Run the model once, without gradients, and keep what a replay needs.

    Inside an `intervene` the recording is of the changed run; with ``start`` the tokens before it are
    read in a forward of their own, so a function on a site is called for either part.

    Args:
        lm: the model.
        items: texts, prompts, lists of ids, or a `Batch`.
        start: ``(rows,)`` or one number: the first token of each row that a replay may change. What is
            recorded, and every position in a replay, then counts from there.
        kept: the keys and values of the tokens before ``start``, if the caller has them; they are then not
            read. They may be of a changed run.

    Raises:
        InputError: a start that is not a token of its row, or keys of other rows or tokens.
    """
    new = new_tokens(lm, items, start, kept)
    states: list[Tensor] = []
    calls: list[Call] = []
    with noting(lm, states, calls), hooked(lm, Site(None, "final_norm", "input"), _adding_to(states)):
        logits = run(lm, new.data.ids, new.mask, new.data.positions, new.data.last, new.kept)[0]
    return Recording(lm, new.data, tuple(calls), tuple(states), logits)


def _adding_to(states: list[Tensor]) -> Change:
    def add(value: Tensor) -> Tensor:
        states.append(value)
        return value

    return add


def resume(
    recording: Arguments,
    layer: int,
    states: Tensor,
    rows: Tensor | None = None,
    *,
    stop: int | None = None,
    kept: KeptKeys | None = None,
) -> Tensor:
    """Run the blocks from ``layer`` on, up to and without ``stop``.

    Args:
        recording: whose arguments to use: a `Recording`, or `Arguments` alone.
        layer: the first block to run; ``n_layers`` runs none.
        states: ``(new rows, tokens, width)``, what goes into that block. Gradients flow through.
        rows: ``(new rows,)``, the recorded row that each new row descends from; by default the same rows,
            or the only one.
        stop: the first block not to run; by default all run.
        kept: keys and values to stand in for the recorded ones, one row for each new row. So rows that
            differ before the recording's start share its other arguments.

    Returns:
        ``(new rows, tokens, width)``.

    Raises:
        InputError: no such layer, or states or rows that do not fit the recording.
    """
    lm, blocks = recording.lm, list(recording.lm.blocks)
    lm.check_layer(layer, last=len(blocks))
    stop = len(blocks) if stop is None else lm.check_layer(stop, last=len(blocks))
    chooser = RowArguments(recording, states, rows, kept)
    for block, (args, kwargs) in list(zip(blocks, recording.calls, strict=True))[layer:stop]:
        states = first(block(states, *chooser(args), **chooser(kwargs)))
    return states


def take_keys(recording: Arguments, layer: int, states: Tensor, kept: KeptKeys) -> KeptKeys:
    """The kept keys and values, followed by those that block ``layer`` makes of ``states``; for that block alone.

    The block is left as soon as it has made them: no token's attention or MLP runs.

    Args:
        recording: of tokens behind kept ones, be there none of them; see `record`.
        layer: the block.
        states: ``(rows, tokens, width)``, what goes into it; no padding among them.
        kept: those of the tokens before, one row for each row of the states.

    Raises:
        InputError: see `resume`; a block that takes no kept keys.
    """
    try:
        resume(recording, layer, states, stop=layer + 1, kept=kept.taking())
    except KeysTaken as taken:
        return taken.keys
    raise InputError(
        f"block {layer} of {recording.lm.name} did not ask for kept keys: record it with kept=, which may be empty"
    )


def read_out(lm: LanguageModel, states: Tensor, positions: Tensor | int | None = None) -> Tensor:
    """Logits of the states after the last block: final norm and head, at ``positions`` (see `pick`)."""
    logits = lm.module("head")(lm.module("final_norm")(pick(states, positions)))
    assert isinstance(logits, Tensor)
    return logits


def replay(
    recording: Recording,
    layer: int,
    states: Tensor,
    rows: Tensor | None = None,
    positions: Tensor | int | None = None,
) -> Tensor:
    """Logits when ``states`` go into block ``layer``: `resume`, then `read_out`.

    ``replay(recording, l, recording.states[l])`` is the recorded run. To change what block l adds, go on
    from ``recording.states[l + 1]`` plus the change, with ``layer = l + 1``: a block adds its attention and
    MLP to its input. Whether gradients are kept is the caller's choice.

    Args:
        recording: from `record`.
        layer: see `resume`.
        states: see `resume`.
        rows: see `resume`.
        positions: where logits are wanted: an integer, ``(new rows,)`` or ``(new rows, k)``; all by default.

    Returns:
        ``(new rows, vocabulary)``, ``(new rows, k, vocabulary)`` or ``(new rows, tokens, vocabulary)``.

    Raises:
        InputError: see `resume` and `pick`.
    """
    return read_out(recording.lm, resume(recording, layer, states, rows), positions)
