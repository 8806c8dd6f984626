"""Essence: how well the model still reads texts about the subject (Section 5.2)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from knowedit.errors import InputError
from knowedit.models import LanguageModel, batch, encode, forward


@dataclass(frozen=True)
class TextLikelihood:
    """What a model gives to one text.

    Attributes:
        log_probability: natural, of all predicted tokens together.
        predicted: how many those are: one less than the text's tokens, since the first has nothing before it.
    """

    log_probability: float
    predicted: int


def perplexity(parts: Sequence[TextLikelihood]) -> float:
    """The exponential of the mean negative log probability of a predicted token, all texts pooled; lower is better.

    At least 1. The released code divides the sum over N − 1 predicted tokens by N, which is too low.

    Raises:
        InputError: no predicted token.
    """
    predicted = sum(part.predicted for part in parts)
    if predicted < 1:
        raise InputError("no token is predicted: a perplexity needs a text of at least two tokens")
    return math.exp(-math.fsum(part.log_probability for part in parts) / predicted)


@torch.no_grad()
def text_likelihoods(lm: LanguageModel, texts: Sequence[str], max_tokens: int) -> list[TextLikelihood]:
    """The log probability of each text, all texts in one batch; texts of fewer than two tokens are left out.

    Args:
        lm: the model as it is now.
        texts: any texts.
        max_tokens: each text is cut after so many tokens.
    """
    rows = [ids for text in texts if len(ids := encode(lm.tokenizer, text)[:max_tokens]) > 1]
    if not rows:
        return []
    logits = forward(lm, batch(lm, rows)).float().log_softmax(dim=-1)
    return [_likelihood(logits[i], row) for i, row in enumerate(rows)]


def _likelihood(logits: torch.Tensor, row: list[int]) -> TextLikelihood:
    after = torch.tensor(row[1:], device=logits.device)
    found = logits[: len(after)].gather(-1, after[:, None])
    return TextLikelihood(float(found.double().sum()), len(after))
