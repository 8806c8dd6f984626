"""Record one forward pass: each block's input state, and the very arguments that the library hands to each block.

The arguments hold all that a replay must not work out by itself: mask, position ids, rotary tables, whatever the
family has. None of them depends on what the blocks compute, so they can be had without running the blocks.

Tokens before the first one that changes are read once, into a KV cache; the recording then holds the tokens from
there on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from knowedit.errors import InputError
from knowedit.models.forwards import Batch, Item, batch, forward
from knowedit.models.hooks import Change, Site, intervene
from knowedit.models.language_model import LanguageModel
from knowedit.models.replay.prefix_cache import PrefixCache

_Call = tuple[tuple[Any, ...], dict[str, Any]]


@dataclass(frozen=True, eq=False, repr=False)
class Recording:
    """What one forward left behind: its arguments, its states, its logits.

    Attributes:
        lm: the model.
        batch: what it reads; with ``start``, the tokens from there on, at their true positions.
        calls: for each block the arguments besides the state.
        states: ``n_layers + 1`` tensors ``(rows, tokens, width)``: ``states[l]`` goes into block l, so
            ``states[l + 1]`` is the state after block l and ``states[-1]`` goes into the final norm. None of
            them where only the arguments were recorded.
        logits: ``(rows, vocabulary)`` after each row's last real token; without states an empty tensor.
    """

    lm: LanguageModel
    batch: Batch
    calls: tuple[_Call, ...]
    states: tuple[Tensor, ...]
    logits: Tensor

    def __repr__(self) -> str:
        what = "states of" if self.states else "arguments for"
        size = f"{self.batch.rows} rows, {self.batch.tokens} tokens"
        return f"Recording({self.lm.name!r}, {what} {len(self.calls)} blocks, {size})"


@torch.no_grad()
def record(
    lm: LanguageModel,
    items: Sequence[Item] | Batch,
    *,
    start: Tensor | Sequence[int] | int = 0,
    cache: PrefixCache | None = None,
    only_arguments: bool = False,
) -> Recording:
    """Run the model once, without gradients, and keep what a replay needs.

    Inside an `intervene` the recording is of the changed run; with ``start`` the tokens before it are
    read in a forward of their own, so a function on a site is called for either part.

    Args:
        lm: the model.
        items: texts, prompts, lists of ids, or a `Batch`.
        start: ``(rows,)`` or one number: the first token of each row that a replay may change. What is
            recorded, and every position in a replay, then counts from there.
        cache: the keys and values of the tokens before ``start``, if the caller has them; they are then not
            read. They may be of a changed run.
        only_arguments: run no block but the first. The recording has no states and no logits; `resume` takes it.

    Raises:
        InputError: a start that is not a token of its row, or a cache of other rows or tokens.
    """
    data, mask, cache = _behind_cache(lm, batch(lm, items), start, cache)
    states: list[Tensor] = []
    calls: list[_Call] = []
    final = {Site(None, "final_norm", "input"): _adding_to(states, after=lm.n_layers)}
    skipping = _only_the_first(lm) if only_arguments else nullcontext()
    with _noting(lm, states, calls), intervene(lm, final, checked=False), skipping:
        logits = forward(lm, data, data.last, cache=cache, mask=mask)
    if only_arguments:
        states, logits = [], logits[:0]
    return Recording(lm, data, tuple(calls), tuple(states), logits)


def _adding_to(states: list[Tensor], after: int) -> Change:
    """Adds what goes into the final norm; some families use it before the blocks too, when fewer states are there."""

    def add(value: Tensor) -> Tensor:
        if len(states) == after:
            states.append(value)
        return value

    return add


@contextmanager
def _noting(lm: LanguageModel, states: list[Tensor], calls: list[_Call]) -> Iterator[None]:
    """Add to the lists what goes into each block: the state, and the arguments besides it."""

    def note(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        rest = {name: value for name, value in kwargs.items() if name != "hidden_states"}
        states.append(args[0] if args else kwargs["hidden_states"])
        calls.append((args[1:], rest))

    with ExitStack() as stack:
        for block in lm.blocks:
            stack.callback(block.register_forward_pre_hook(note, with_kwargs=True).remove)
        yield


@contextmanager
def _only_the_first(lm: LanguageModel) -> Iterator[None]:
    """Each block but the first returns what the first one did: the kind of output that the family needs."""
    outputs: list[Any] = []
    with ExitStack() as stack:
        stack.callback(lm.blocks[0].register_forward_hook(lambda *call: outputs.append(call[-1])).remove)
        for block in list(lm.blocks)[1:]:
            stack.enter_context(_replaced(block, lambda *_, **__: outputs[0]))
        yield


@contextmanager
def _replaced(module: nn.Module, function: Callable[..., Any]) -> Iterator[None]:
    """Call ``function`` in place of a module's own forward; its hooks run all the same. Undone after any exit."""
    # Not by setattr: what the instance had, for instance from a library that spreads models over devices, comes back.
    own = {name: value for name, value in vars(module).items() if name == "forward"}
    vars(module)["forward"] = function
    try:
        yield
    finally:
        del vars(module)["forward"]
        vars(module).update(own)


def _behind_cache(
    lm: LanguageModel, whole: Batch, start: Tensor | Sequence[int] | int, cache: PrefixCache | None
) -> tuple[Batch, Tensor, PrefixCache | None]:
    """The tokens from ``start`` on, the mask over all, and the cache of those before, read here if not given."""
    starts = _checked_starts(whole, start)
    if cache is not None:
        _check_cache(cache, starts)
    elif bool(starts.any()):
        cache = PrefixCache.read(lm, _columns(whole, torch.zeros_like(starts), starts))
    if cache is None:
        return whole, whole.mask, None
    data = _columns(whole, starts, whole.lengths)
    return data, torch.cat([cache.mask, data.mask], dim=1), cache


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


def _check_cache(cache: PrefixCache, starts: Tensor) -> None:
    if cache.n_rows != len(starts) or not torch.equal(cache.mask.sum(1).to(starts.device), starts):
        raise InputError(
            f"the KV cache has {cache.mask.sum(1).tolist()} tokens, the rows start at {starts.tolist()}: "
            "give a cache of all tokens before each start"
        )


def _columns(data: Batch, begin: Tensor, end: Tensor) -> Batch:
    """The tokens from ``begin`` up to ``end`` of each row, padded on the right."""
    lengths = end - begin
    offset = torch.arange(int(lengths.max()), device=data.ids.device)
    index = (begin[:, None] + offset).clamp(max=data.tokens - 1)
    mask = (offset < lengths[:, None]).long()
    return Batch(data.ids.gather(1, index), mask, data.positions.gather(1, index), lengths)
