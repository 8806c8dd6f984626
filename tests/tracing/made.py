"""Traces with made-up scores, for figures and tables."""

from __future__ import annotations

from typing import Any

import torch

from knowedit.tracing import Role, Trace, TraceProvenance, TraceSettings

TEXTS = ("The", " $x_1$", " Need", "le", " in", " 東京", "_down", "\n", " a^{b}", " é", " is", " of")


def made(
    tokens: int = 12,
    layers: int = 6,
    *,
    draws: int = 3,
    seed: int = 0,
    answer: str = " $5_a$",
    **settings: Any,
) -> Trace:
    """A trace of a prompt of ``tokens`` tokens, the second and third of which are the subject."""
    generator = torch.Generator().manual_seed(seed)
    texts = tuple(TEXTS[i % len(TEXTS)] for i in range(tokens))
    roles = (Role.BEFORE, Role.FIRST_SUBJECT, Role.LAST_SUBJECT, *[Role.FURTHER] * (tokens - 4), Role.LAST)
    return Trace(
        text="".join(texts),
        subject=(1, 3),
        token_ids=tuple(range(tokens)),
        tokens=texts,
        roles=roles,
        answer=answer,
        answer_ids=(1,),
        predicted=True,
        settings=TraceSettings(draws=draws, **settings),
        clean=0.9,
        corrupted_draws=torch.rand(draws, generator=generator, dtype=torch.float64) / 10,
        restored_draws=torch.rand(draws, tokens, layers, generator=generator, dtype=torch.float64),
        noise=None,
        provenance=TraceProvenance("made", "0", "float32", 0, {}),
    )
