"""Several prompts in one forward pass, with the head run only where logits are wanted.

Rows are padded on the right, with an explicit mask and explicit positions. Causal attention alone keeps a real
token from seeing such a pad; both are given all the same, so that nothing depends on what the library guesses.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor
from transformers import Cache, DynamicCache

from knowedit.errors import InputError, NumericalError
from knowedit.models.hooks import Change, Site, intervene
from knowedit.models.opened import OpenedModel
from knowedit.models.prompts import Prompt, encode
from knowedit.models.sources.finite import is_finite

Item: TypeAlias = "str | Prompt | Sequence[int]"
Visitor: TypeAlias = Callable[[Tensor], None]


@dataclass(frozen=True, eq=False, repr=False)
class Batch:
    """Token ids padded on the right.

    Attributes:
        ids: ``(rows, tokens)``; the ids in the padding have no influence.
        mask: ``(rows, tokens)``, 1 for real tokens.
        positions: ``(rows, tokens)``, ``0, 1, 2, ...`` in each row.
        lengths: ``(rows,)``, the number of real tokens.
    """

    ids: Tensor
    mask: Tensor
    positions: Tensor
    lengths: Tensor

    def __repr__(self) -> str:
        return f"Batch({self.rows} rows, {self.tokens} tokens, {self.ids.device})"

    @property
    def rows(self) -> int:
        """The number of prompts."""
        return int(self.ids.shape[0])

    @property
    def tokens(self) -> int:
        """The length of the longest prompt."""
        return int(self.ids.shape[1])

    @property
    def last(self) -> Tensor:
        """``(rows,)``: the position of each row's last real token."""
        return self.lengths - 1


def batch(lm: OpenedModel, items: Sequence[Item] | Batch, *, pad_id: int = 0) -> Batch:
    """Put texts, prompts or lists of ids into one `Batch` on the model's device; a `Batch` is returned as it is.

    Args:
        lm: the model; its tokenizer reads the texts.
        items: one row each.
        pad_id: any valid id.

    Raises:
        InputError: no rows, a row without tokens, a text instead of a list of texts, more tokens
            than the model has positions.
    """
    if isinstance(items, Batch):
        return items
    if isinstance(items, str):
        raise InputError("a single text was given where a list of texts belongs: write [text]")
    rows = [_token_ids(lm, item) for item in items]
    if not rows or not all(rows):
        raise InputError(
            "a batch needs at least one row and each row at least one token: drop the empty ones"
        )
    width = max(map(len, rows))
    lm.check_room(width)
    ids = torch.full((len(rows), width), pad_id, dtype=torch.long)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row)
    return _explicit(ids.to(lm.device), torch.tensor([len(row) for row in rows], device=lm.device))


def _token_ids(lm: OpenedModel, item: Item) -> list[int]:
    if isinstance(item, str):
        return encode(lm.tokenizer, item)
    return list(item.ids if isinstance(item, Prompt) else item)


def _explicit(ids: Tensor, lengths: Tensor) -> Batch:
    positions = torch.arange(ids.shape[1], device=ids.device).expand(ids.shape).contiguous()
    return Batch(ids, (positions < lengths[:, None]).long(), positions, lengths)


def pick(states: Tensor, positions: Tensor | int | None) -> Tensor:
    """Rows of ``states`` at token positions.

    Args:
        states: ``(rows, tokens, width)``.
        positions: None for all tokens; an integer or ``(rows,)`` for one per row; ``(rows, k)`` for k.

    Returns:
        ``(rows, tokens, width)``, ``(rows, width)`` or ``(rows, k, width)``.

    Raises:
        InputError: positions that do not fit the rows, or outside the tokens.
    """
    if positions is None:
        return states
    rows, tokens = states.shape[:2]
    index = torch.as_tensor(positions, device=states.device)
    index = index.expand(rows) if index.ndim == 0 else index
    if index.shape[0] != rows or index.ndim > 2 or index.is_floating_point():
        raise InputError(
            f"positions of shape {tuple(index.shape)} do not fit {rows} rows: give (rows,) or (rows, k)"
        )
    if index.numel() and (int(index.min()) < 0 or int(index.max()) >= tokens):
        raise InputError(f"a position is outside the {tokens} tokens: use 0 to {tokens - 1}")
    row = torch.arange(rows, device=states.device)
    return states[row, index] if index.ndim == 1 else states[row[:, None], index]


def forward(
    lm: OpenedModel,
    data: Batch,
    positions: Tensor | int | None = None,
    *,
    cache: Cache | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """Logits of a batch; gradients flow if the caller lets them.

    Args:
        lm: the model.
        data: what it reads; with a cache the new tokens.
        positions: where to compute logits, see `pick`.
        cache: a KV cache of earlier tokens, to which the new ones are added.
        mask: ``(rows, cached + new tokens)``, needed where the cache holds tokens: the library silently takes a
            mask of the new tokens alone as padded with masked ones.

    Returns:
        ``(rows, tokens, vocabulary)``, ``(rows, vocabulary)`` or ``(rows, k, vocabulary)``, see `pick`.

    Raises:
        NumericalError: a logit is NaN or infinite; names the first part of the model that computes such a number.
    """
    logits = _logits(lm, data, positions, cache, mask)
    if not is_finite(logits):
        raise NumericalError(_trouble(lm, lambda: _again(lm, data, positions, cache, mask)))
    return logits


def _logits(
    lm: OpenedModel, data: Batch, positions: Tensor | int | None, cache: Cache | None, mask: Tensor | None
) -> Tensor:
    # Selecting before the head saves the vocabulary-sized product at every other token.
    head = Site(None, "head", "input")
    change = {head: lambda states: pick(states, positions)}
    with nullcontext() if positions is None else intervene(lm, change, checked=False):
        out = lm.model(
            input_ids=data.ids,
            attention_mask=data.mask if mask is None else mask,
            position_ids=data.positions,
            use_cache=cache is not None,
            return_dict=True,
            **_cache_argument(lm, cache),
        )
    logits = out.logits
    assert isinstance(logits, Tensor)
    return logits


@torch.no_grad()
def _again(
    lm: OpenedModel, data: Batch, positions: Tensor | int | None, cache: Cache | None, mask: Tensor | None
) -> None:
    """The same forward once more, before a cache that grew with the first one is thrown away."""
    if isinstance(cache, DynamicCache):
        cache.crop(-data.tokens)
    _logits(lm, data, positions, cache, mask)


def _trouble(lm: OpenedModel, again: Callable[[], None]) -> str:
    """What to say about a forward that gives numbers that are not finite."""
    first: list[Site] = []

    def look(site: Site) -> Change:
        def change(value: Tensor) -> Tensor:
            if not first and not is_finite(value):
                first.append(site)
            return value

        return change

    parts = [Site(layer, part) for layer in range(lm.n_layers) for part in ("attention", "mlp", "block")]
    with intervene(lm, {site: look(site) for site in (Site(None, "embedding"), *parts)}, checked=False):
        again()
    part = first[0].part if first else "head"
    where = "" if not first or first[0].layer is None else f" of layer {first[0].layer}"
    return (
        f"{lm.name} computes numbers that are NaN or infinite, first in the output of the {part}{where} "
        f"({str(lm.dtype).removeprefix('torch.')}): expected finite ones, so open the model in a wider number "
        "format, or remove an edit or intervention with very large numbers"
    )


def _cache_argument(lm: OpenedModel, cache: Cache | None) -> dict[str, Any]:
    if cache is None:
        return {}
    # transformers 5.24 renamed it and refuses the old name from 5.40 on.
    return {
        "cache" if "cache" in inspect.signature(lm.model.forward).parameters else "past_key_values": cache
    }


class _Seen(Exception):
    """Leaves a forward from inside; never seen outside this module."""


@torch.no_grad()
def visit(lm: OpenedModel, data: Batch, visitors: Mapping[Site, Visitor]) -> None:
    """Run the model until every site was reached, and show each visitor the tensor at its site.

    Nothing after the last site runs: no later block, no head, and for a site at the input of a module not
    that module. An exception ends the forward, so this holds for every family, whatever order it runs its
    parts in. The tensor is the model's own: a visitor must not write into it.

    Args:
        lm: the model.
        data: what it runs on.
        visitors: a function for each site, called with ``(rows, tokens, width)``, padding included.

    Raises:
        InputError: no site, no such site, or a site that this forward does not reach.
    """
    if not visitors:
        raise InputError("there is no site to visit: give at least one")
    waiting = set(visitors)

    def look(site: Site) -> Change:
        def change(value: Tensor) -> Tensor:
            visitors[site](value)
            waiting.discard(site)
            if not waiting:
                raise _Seen
            return value

        return change

    with intervene(lm, {site: look(site) for site in visitors}, checked=False):
        try:
            forward(lm, data, data.last)
        except _Seen:
            return
    raise InputError(f"the forward of {lm.name} never reached {sorted(map(str, waiting))}: check the anatomy")
