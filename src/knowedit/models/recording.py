"""Record once, replay from block l.

One ordinary forward records each block's input state and the very arguments the library hands to that
block (mask, position ids, whatever the family has). A replay calls the blocks from l on with the same
arguments, so it has no mask, rotary or position logic of its own, and hooks on these blocks still work.

Tokens before the first one that changes are read once and kept as keys and values; recording and replays
then hold the tokens from there on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from knowedit.errors import InputError
from knowedit.models.batches import Batch, Item, as_batch
from knowedit.models.forwards import pick, run
from knowedit.models.hooks import Site, first, hooked
from knowedit.models.kept_keys import KeptKeys, keep_keys

if TYPE_CHECKING:
    from knowedit.models.language_model import LanguageModel

Call = tuple[tuple[Any, ...], dict[str, Any]]


@dataclass(frozen=True, eq=False)
class Recording:
    """What one forward left behind.

    Attributes:
        lm: the model that ran.
        batch: what it ran on; with ``start``, the tokens from there on, at their true positions.
        states: ``n_layers + 1`` tensors ``(rows, tokens, width)``: ``states[l]`` goes into block l, so
            ``states[l + 1]`` is the state after block l and ``states[-1]`` goes into the final norm.
        calls: for each block the arguments besides the state.
        logits: ``(rows, vocabulary)`` after each row's last real token.
    """

    lm: LanguageModel
    batch: Batch
    states: tuple[Tensor, ...]
    calls: tuple[Call, ...]
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
    whole = as_batch(lm, items)
    starts = _checked_starts(whole, start)
    if kept is not None:
        _check_kept(kept, starts)
    elif bool(starts.any()):
        kept = keep_keys(lm, _columns(whole, torch.zeros_like(starts), starts))
    data = whole if kept is None else _columns(whole, starts, whole.lengths)
    mask = data.mask if kept is None else torch.cat([kept.mask, data.mask], dim=1)
    states: list[Tensor] = []
    calls: list[Call] = []
    with _recording(lm, states, calls):
        logits = run(lm, data.ids, mask, data.positions, data.last, kept)[0]
    return Recording(lm, data, tuple(states), tuple(calls), logits)


def _checked_starts(data: Batch, start: Tensor | Sequence[int] | int) -> Tensor:
    starts = torch.as_tensor(start, device=data.ids.device)
    if starts.ndim > 1 or starts.is_floating_point() or starts.numel() not in (1, data.rows):
        raise InputError(
            f"start has shape {tuple(starts.shape)}: give one token index for each of {data.rows} rows"
        )
    starts = starts.expand(data.rows)
    if bool((starts < 0).any()) or bool((starts >= data.lengths).any()):
        raise InputError(
            f"start is {starts.tolist()}, the rows have {data.lengths.tolist()} tokens: "
            "each row must keep at least its last token"
        )
    return starts


def _check_kept(kept: KeptKeys, starts: Tensor) -> None:
    if kept.mask.shape[0] != len(starts) or not torch.equal(kept.mask.sum(1).to(starts.device), starts):
        raise InputError(
            f"the kept keys have {kept.mask.sum(1).tolist()} tokens, the rows start at {starts.tolist()}: "
            "give keys of all tokens before each start"
        )


def _columns(data: Batch, begin: Tensor, end: Tensor) -> Batch:
    """The tokens from ``begin`` up to ``end`` of each row, padded on the right."""
    lengths = end - begin
    offset = torch.arange(int(lengths.max()), device=data.ids.device)
    index = (begin[:, None] + offset).clamp(max=data.tokens - 1)
    mask = (offset < lengths[:, None]).long()
    return Batch(data.ids.gather(1, index), mask, data.positions.gather(1, index), lengths)


@contextmanager
def _recording(lm: LanguageModel, states: list[Tensor], calls: list[Call]) -> Iterator[None]:
    def note(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        rest = {name: value for name, value in kwargs.items() if name != "hidden_states"}
        states.append(args[0] if args else kwargs["hidden_states"])
        calls.append((args[1:], rest))

    def note_final(value: Tensor) -> Tensor:
        states.append(value)
        return value

    with ExitStack() as stack:
        for block in lm.blocks:
            stack.callback(block.register_forward_pre_hook(note, with_kwargs=True).remove)
        stack.enter_context(hooked(lm, Site(None, "final_norm", "input"), note_final))
        yield


def resume(
    recording: Recording,
    layer: int,
    states: Tensor,
    rows: Tensor | None = None,
    *,
    stop: int | None = None,
    kept: KeptKeys | None = None,
) -> Tensor:
    """Run the blocks from ``layer`` on, up to and without ``stop``.

    Args:
        recording: whose arguments to use.
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
    lm = recording.lm
    lm.check_layer(layer, last=lm.n_layers)
    stop = lm.n_layers if stop is None else lm.check_layer(stop, last=lm.n_layers)
    chooser = _Rows(recording, states, rows, kept)
    for block, (args, kwargs) in list(zip(lm.blocks, recording.calls, strict=True))[layer:stop]:
        states = first(block(states, *chooser(args), **chooser(kwargs)))
    return states


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


class _Rows:
    """Turns recorded arguments into those of the new rows; each tensor once, as blocks share them."""

    def __init__(
        self, recording: Recording, states: Tensor, rows: Tensor | None, kept: KeptKeys | None = None
    ) -> None:
        shape, count = tuple(recording.states[0].shape), recording.batch.rows
        if states.ndim != 3 or tuple(states.shape[1:]) != shape[1:]:
            raise InputError(f"states of shape {tuple(states.shape)} do not fit the recorded {shape}")
        if rows is None and count not in (1, states.shape[0]):
            raise InputError(
                f"{states.shape[0]} rows against {count} recorded: say in rows= what each descends from"
            )
        self.recorded = count
        self.new = int(states.shape[0])
        self.rows = None if rows is None else _checked_rows(rows, self.new, count, states.device)
        if kept is not None and len(kept.mask) != self.new:
            raise InputError(f"{len(kept.mask)} rows of kept keys do not fit {self.new} rows of states")
        self.kept = kept
        self.done: dict[int, Any] = {}

    def __call__(self, value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(self(part) for part in value)
        if isinstance(value, dict):
            return {name: self(part) for name, part in value.items()}
        if isinstance(value, KeptKeys):
            return self._once(value) if self.kept is None else self.kept
        # What belongs to rows has at least (rows, tokens); a leading 1 stands for all rows already.
        if not isinstance(value, Tensor) or value.ndim < 2 or value.shape[0] != self.recorded:
            return value
        return self._once(value)

    def _once(self, value: Any) -> Any:
        if id(value) not in self.done:
            self.done[id(value)] = self._select(value)
        return self.done[id(value)]

    def _select(self, value: Any) -> Any:
        if isinstance(value, KeptKeys):
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
