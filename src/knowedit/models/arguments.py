"""The arguments that the library hands to each block besides the state, and those of other rows.

They hold all that a replay must not work out by itself: mask, position ids, rotary tables, whatever the family
has. None of them depends on what the blocks compute, so they can be had without running the blocks.
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
from knowedit.models.forwards import run
from knowedit.models.hooks import replaced
from knowedit.models.kept_keys import KeptKeys, keep_keys

if TYPE_CHECKING:
    from knowedit.models.language_model import LanguageModel

Call = tuple[tuple[Any, ...], dict[str, Any]]


@dataclass(frozen=True, eq=False)
class Arguments:
    """What a forward hands to the blocks.

    Attributes:
        lm: the model.
        batch: what it reads; with ``start``, the tokens from there on, at their true positions.
        calls: for each block the arguments besides the state.
    """

    lm: LanguageModel
    batch: Batch
    calls: tuple[Call, ...]


@dataclass(frozen=True, eq=False)
class NewTokens:
    """What a forward reads: the new tokens, behind the kept ones if there are any.

    Attributes:
        data: the new tokens.
        mask: ``(rows, kept + new tokens)``.
        kept: see `KeptKeys`, or None.
    """

    data: Batch
    mask: Tensor
    kept: KeptKeys | None


@torch.no_grad()
def block_arguments(
    lm: LanguageModel,
    items: Sequence[Item] | Batch,
    *,
    start: Tensor | Sequence[int] | int = 0,
    kept: KeptKeys | None = None,
) -> Arguments:
    """The arguments of a forward of which only the first block is run.

    Args:
        lm: the model.
        items: see `record`.
        start: see `record`.
        kept: see `record`.

    Raises:
        InputError: see `record`.
    """
    new = new_tokens(lm, items, start, kept)
    calls: list[Call] = []
    with noting(lm, [], calls), _only_the_first(lm):
        run(lm, new.data.ids, new.mask, new.data.positions, new.data.last, new.kept)
    return Arguments(lm, new.data, tuple(calls))


@contextmanager
def _only_the_first(lm: LanguageModel) -> Iterator[None]:
    """Each block but the first returns what the first one did: the kind of output that the family needs."""
    outputs: list[Any] = []
    with ExitStack() as stack:
        stack.callback(lm.blocks[0].register_forward_hook(lambda *call: outputs.append(call[-1])).remove)
        for block in list(lm.blocks)[1:]:
            stack.enter_context(replaced(block, lambda *_, **__: outputs[0]))
        yield


def new_tokens(
    lm: LanguageModel,
    items: Sequence[Item] | Batch,
    start: Tensor | Sequence[int] | int,
    kept: KeptKeys | None,
) -> NewTokens:
    """The tokens from ``start`` on behind those before it, which are read here if they are not ``kept``.

    Raises:
        InputError: a start that is not a token of its row, or keys of other rows or tokens.
    """
    whole = as_batch(lm, items)
    starts = _checked_starts(whole, start)
    if kept is not None:
        _check_kept(kept, starts)
    elif bool(starts.any()):
        kept = keep_keys(lm, _columns(whole, torch.zeros_like(starts), starts))
    if kept is None:
        return NewTokens(whole, whole.mask, None)
    data = _columns(whole, starts, whole.lengths)
    return NewTokens(data, torch.cat([kept.mask, data.mask], dim=1), kept)


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
    if kept.n_rows != len(starts) or not torch.equal(kept.mask.sum(1).to(starts.device), starts):
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
def noting(lm: LanguageModel, states: list[Tensor], calls: list[Call]) -> Iterator[None]:
    """Add to the lists what goes into each block: the state, and the arguments besides it."""

    def note(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        rest = {name: value for name, value in kwargs.items() if name != "hidden_states"}
        states.append(args[0] if args else kwargs["hidden_states"])
        calls.append((args[1:], rest))

    with ExitStack() as stack:
        for block in lm.blocks:
            stack.callback(block.register_forward_pre_hook(note, with_kwargs=True).remove)
        yield


class RowArguments:
    """Turns recorded arguments into those of the new rows; each tensor once, as blocks share them."""

    def __init__(
        self, recorded: Arguments, states: Tensor, rows: Tensor | None, kept: KeptKeys | None = None
    ) -> None:
        count = recorded.batch.rows
        shape = (count, recorded.batch.tokens, recorded.lm.width)
        if states.ndim != 3 or tuple(states.shape[1:]) != shape[1:]:
            raise InputError(f"states of shape {tuple(states.shape)} do not fit the recorded {shape}")
        if rows is None and count not in (1, states.shape[0]):
            raise InputError(
                f"{states.shape[0]} rows against {count} recorded: say in rows= what each descends from"
            )
        self.recorded = count
        self.new = int(states.shape[0])
        self.rows = None if rows is None else _checked_rows(rows, self.new, count, states.device)
        if kept is not None and kept.n_rows != self.new:
            raise InputError(f"{kept.n_rows} rows of kept keys do not fit {self.new} rows of states")
        self.kept = kept
        self.done: dict[int, Any] = {}

    def __call__(self, value: Any) -> Any:
        """The argument, or the arguments in a tuple or dictionary, of the new rows."""
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
