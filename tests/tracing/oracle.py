"""Slow and obvious: plain hooks on the bare model, one whole forward for each cell, all draws in one batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from knowedit.models import LanguageModel, Prompt
from knowedit.tracing import Window

PARTS = {"hidden": "block", "mlp": "mlp", "attention": "attention"}


@contextmanager
def hook(module: nn.Module, change: Callable[[Tensor], Tensor | None]) -> Iterator[None]:
    def run(_module: nn.Module, _args: Any, output: Any) -> Any:
        tensor = output[0] if isinstance(output, tuple) else output
        new = change(tensor.clone())
        if new is None:
            return None
        return (new, *output[1:]) if isinstance(output, tuple) else new

    handle = module.register_forward_hook(run)
    try:
        yield
    finally:
        handle.remove()


def put(tokens: slice | int, new: Tensor) -> Callable[[Tensor], Tensor]:
    def change(value: Tensor) -> Tensor:
        value[:, tokens] = new
        return value

    return change


@torch.no_grad()
def trace(
    lm: LanguageModel,
    prompt: Prompt,
    answer: list[int],
    embeddings: Tensor,
    *,
    part: str = "hidden",
    window: Window | None = None,
    sever: str | None = None,
) -> tuple[float, Tensor, Tensor]:
    """Clean score, corrupted scores ``(draws,)`` and restored scores ``(draws, tokens, layers)``.

    ``embeddings`` ``(draws, subject tokens, width)`` stand in place of the subject's token embeddings.
    """
    before, after = (0, 0) if window is None else (window.before, window.after)
    layers, subject, last = range(lm.n_layers), prompt.last_subject, len(prompt.ids) - 1
    ids = torch.tensor([[*prompt.ids, *answer[:-1]]])

    def score(rows: int) -> Tensor:
        logits = lm.model(ids.expand(rows, -1), use_cache=False).logits
        odds = logits.float().softmax(-1)
        found = torch.ones(rows, dtype=torch.float64)
        for i, token in enumerate(answer):
            found *= odds[:, last + i, token].double()
        return found

    def outputs(name: str, run: Callable[[], Tensor]) -> tuple[list[Tensor], Tensor]:
        kept: dict[int, Tensor] = {}
        with ExitStack() as stack:
            for layer in layers:

                def keep(value: Tensor, layer: int = layer) -> None:
                    kept[layer] = value

                stack.enter_context(hook(lm.module(name, layer), keep))
            result = run()
        return [kept[layer] for layer in layers], result

    def corrupted(changes: list[tuple[nn.Module, Callable[[Tensor], Tensor]]]) -> Tensor:
        with ExitStack() as stack:
            stack.enter_context(hook(lm.module("embedding"), put(prompt.subject, embeddings)))
            for module, change in changes:
                stack.enter_context(hook(module, change))
            return score(len(embeddings))

    clean, clean_score = outputs(PARTS[part], lambda: score(1))
    spoiled, baseline = outputs(sever or "mlp", lambda: corrupted([]))
    held = [(lm.module(sever, layer), put(subject, spoiled[layer][:, subject])) for layer in layers if sever]
    scores = torch.empty(len(embeddings), len(prompt.ids), lm.n_layers, dtype=torch.float64)
    for token in range(len(prompt.ids)):
        for centre in layers:
            around = [layer for layer in layers if centre - before <= layer <= centre + after]
            restored = [
                (lm.module(PARTS[part], layer), put(token, clean[layer][0, token])) for layer in around
            ]
            # Hooks run in order: what is severed is held after anything was restored.
            scores[:, token, centre] = corrupted([*restored, *held])
    return float(clean_score), baseline, scores
