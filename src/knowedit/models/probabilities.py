"""Probabilities of next tokens and of whole targets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor

from knowedit.errors import InputError
from knowedit.models.forwards import Batch, Item, batch, forward
from knowedit.models.language_model import LanguageModel
from knowedit.models.prompts import encode, target_ids

T = TypeVar("T")


@torch.no_grad()
def next_token_probabilities(lm: LanguageModel, items: Sequence[Item], *, batch_size: int = 32) -> Tensor:
    """Probabilities ``(rows, vocabulary)``, float32, of the token after each text, prompt or list of ids."""
    batches = (batch(lm, part) for part in _chunks(items, batch_size))
    return torch.cat([torch.softmax(forward(lm, data, data.last).float(), dim=-1) for data in batches])


@torch.no_grad()
def target_token_log_probabilities(
    lm: LanguageModel, pairs: Sequence[tuple[str, str]], *, batch_size: int = 32
) -> list[Tensor]:
    """Log probability of each token of each target, given the prompt and the target's earlier tokens.

    By teacher forcing; the sum over a target's tokens is its joint log probability.

    Args:
        lm: the model.
        pairs: ``(prompt text, target)``; a leading space is added to the target where needed.
        batch_size: rows per forward; changes nothing but memory and time.

    Returns:
        For each pair a float32 tensor, as long as the target has tokens.

    Raises:
        InputError: an empty target, a prompt without tokens, or one that the target's tokens do not follow.
    """
    rows = [(encode(lm.tokenizer, text), target_ids(lm.tokenizer, text, target)) for text, target in pairs]
    if not all(head for head, _ in rows):
        raise InputError("a target cannot be scored after an empty prompt: give at least one token")
    return [scores for part in _chunks(rows, batch_size) for scores in _score(lm, part)]


def _score(lm: LanguageModel, rows: Sequence[tuple[list[int], list[int]]]) -> list[Tensor]:
    # The last target token is predicted, never read.
    read, places = _shared([[*head, *target[:-1]] for head, target in rows])
    data = batch(lm, read)
    longest = max(len(target) for _, target in rows)
    starts = torch.tensor([len(head) - 1 for head, _ in rows], device=lm.device)
    logits, first = _span(lm, data, starts, torch.tensor(places, device=lm.device), longest)
    return [
        logits[
            place, start + torch.arange(len(target), device=lm.device), torch.tensor(target, device=lm.device)
        ]
        for place, start, (_, target) in zip(places, first, rows, strict=True)
    ]


def _span(
    lm: LanguageModel, data: Batch, starts: Tensor, places: Tensor, longest: int
) -> tuple[Tensor, list[int]]:
    """Log probabilities at the positions that are asked of each row, and where each target's begin among them."""
    low = data.lengths.scatter_reduce(0, places, starts, "amin")
    first = starts - low[places]
    positions = low[:, None] + torch.arange(longest + int(first.max()), device=lm.device)
    logits = forward(lm, data, positions.minimum(data.last[:, None]))
    return logits.float().log_softmax(dim=-1), first.tolist()


def _shared(texts: list[list[int]]) -> tuple[list[list[int]], list[int]]:
    """The texts that are the beginning of no other one, and for each text the one that it begins.

    A token sees only what is before it, so a text is read off any longer one: two targets of one token each
    share their prompt.
    """
    rows: list[list[int]] = []
    places: dict[int, int] = {}
    # In this order a beginning of any text comes right before a text that it begins.
    for i in sorted(range(len(texts)), key=texts.__getitem__, reverse=True):
        if not rows or rows[-1][: len(texts[i])] != texts[i]:
            rows.append(texts[i])
        places[i] = len(rows) - 1
    return rows, [places[i] for i in range(len(texts))]


def _chunks(items: Sequence[T], size: int) -> list[Sequence[T]]:
    if size < 1:
        raise InputError(f"batch_size is {size}, expected at least 1")
    if not items:
        raise InputError("nothing to score: the list is empty")
    return [items[i : i + size] for i in range(0, len(items), size)]
