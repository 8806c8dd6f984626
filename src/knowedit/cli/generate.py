"""``knowedit generate``: continue a text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from knowedit.cli.stack import load_edits, stacked
from knowedit.models import load


def run_generate(
    model: str, edits: Sequence[Path], prompt: str, max_new_tokens: int, seed: int | None, top_k: int | None
) -> str:
    """The prompt and its continuation by the model, with the edits applied in their order."""
    loaded = load_edits(edits)
    lm = load(model)
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    with stacked(lm, loaded):
        return lm.generate(prompt, max_new_tokens, generator=generator, top_k=top_k)
