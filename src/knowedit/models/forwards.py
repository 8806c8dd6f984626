"""One ordinary forward pass, with the head run only where logits are wanted."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from knowedit.errors import InputError
from knowedit.models.hooks import Site, hooked

if TYPE_CHECKING:
    from knowedit.models.batches import Batch
    from knowedit.models.language_model import LanguageModel


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


def run(
    lm: LanguageModel,
    ids: Tensor,
    mask: Tensor,
    positions: Tensor,
    keep: Tensor | int | None,
    cache: Any = None,
) -> tuple[Tensor, Any]:
    """Run the model on new tokens, with or without its key-value cache.

    Args:
        lm: the model.
        ids: ``(rows, tokens)`` new token ids.
        mask: ``(rows, cached + tokens)``. It must cover the cached tokens too: the library silently
            takes a shorter one as padded with masked tokens.
        positions: ``(rows, tokens)`` of the new tokens.
        keep: where to compute logits, see `pick`.
        cache: None for no cache, ``True`` for a new one, or a cache, for instance what an earlier call returned.

    Returns:
        The logits, see `pick` for their shape, and the cache (None without one).
    """
    past = None if cache is True else cache
    # Selecting before the head saves the vocabulary-sized product at every other token.
    site = Site(None, "head", "input")
    with nullcontext() if keep is None else hooked(lm, site, lambda states: pick(states, keep)):
        out = lm.model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=past,
            use_cache=cache is not None,
            return_dict=True,
        )
    return out.logits, out.past_key_values if cache is not None else None


def forward(lm: LanguageModel, data: Batch, positions: Tensor | int | None = None) -> Tensor:
    """Logits of a batch at ``positions``, see `pick`; gradients flow if the caller lets them."""
    return run(lm, data.ids, data.mask, data.positions, positions)[0]
