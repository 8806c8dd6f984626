"""Essence: how well the model still reads texts about the subject (Section 5.2)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

import torch

from knowedit.errors import InputError
from knowedit.models import LanguageModel, batch, encode, forward

Likelihood: TypeAlias = tuple[float, int]
"""What a model gives to one text: the natural log probability of all predicted tokens together, and how many those are.

They are one less than the text's tokens, since the first has nothing before it.
"""


def perplexity(parts: Sequence[Likelihood]) -> float:
    """The exponential of the mean negative log probability of a predicted token, all texts pooled; lower is better.

    At least 1. The released code divides the sum over N − 1 predicted tokens by N, which is too low.

    Raises:
        InputError: no predicted token.
    """
    predicted = sum(count for _, count in parts)
    if predicted < 1:
        raise InputError("no token is predicted: a perplexity needs a text of at least two tokens")
    return math.exp(-math.fsum(log for log, _ in parts) / predicted)


@torch.no_grad()
def text_likelihoods(lm: LanguageModel, texts: Sequence[str], max_tokens: int) -> list[Likelihood]:
    """The log probability of each text, all texts in one batch; texts of fewer than two tokens are left out.

    Args:
        lm: the model as it is now.
        texts: any texts.
        max_tokens: at most this many tokens of each text.
    """
    rows = [ids for text in texts if len(ids := encode(lm.tokenizer, text)[:max_tokens]) > 1]
    if not rows:
        return []
    logits = forward(lm, batch(lm, rows)).float().log_softmax(dim=-1)
    return [_likelihood(logits[i], row) for i, row in enumerate(rows)]


def _likelihood(logits: torch.Tensor, row: list[int]) -> Likelihood:
    after = torch.tensor(row[1:], device=logits.device)
    found = logits[: len(after)].gather(-1, after[:, None])
    return float(found.double().sum()), len(after)
