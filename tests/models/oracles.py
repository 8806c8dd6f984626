"""Slow and obvious: plain forwards of the bare transformers model, one row at a time, with plain hooks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from knowedit.models import LanguageModel


@torch.no_grad()
def full_logits(lm: LanguageModel, ids: Sequence[int]) -> Tensor:
    """Logits ``(tokens, vocabulary)`` of one unpadded row, no cache, no mask, nothing of ours."""
    return lm.model(torch.tensor([list(ids)]), use_cache=False).logits[0]


def block_of(lm: LanguageModel, layer: int) -> nn.Module:
    return lm.model.transformer.h[layer]


@contextmanager
def hook(module: nn.Module, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Change a module's output, tensor or tuple."""

    def run(_module: nn.Module, _args: Any, output: Any) -> Any:
        return (change(output[0]), *output[1:]) if isinstance(output, tuple) else change(output)

    handle = module.register_forward_hook(run)
    try:
        yield
    finally:
        handle.remove()


def hook_count(lm: LanguageModel) -> int:
    return sum(
        len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in lm.model.modules()
    )
