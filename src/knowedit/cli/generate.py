"""``knowedit generate``: continue a text."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import torch

from knowedit.editing import Edit
from knowedit.models import load


def run_generate(
    model: str, edit: Path | None, prompt: str, max_new_tokens: int, seed: int | None, top_k: int | None
) -> str:
    """The prompt and its continuation by the model, edited or not."""
    loaded = None if edit is None else Edit.load(edit)
    lm = load(model)
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    with nullcontext() if loaded is None else loaded.applied(lm):
        return lm.generate(prompt, max_new_tokens, generator=generator, top_k=top_k)
