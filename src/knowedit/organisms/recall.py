"""Does a model know its world: top-1 recall over (fact, template) pairs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from knowedit.facts import fill
from knowedit.organisms.world import Pair, World


def recalled(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    world: World,
    pairs: Sequence[Pair],
    *,
    batch: int = 64,
) -> list[bool]:
    """For each of ``pairs`` whether the whole object is the model's greedy continuation; their mean is its recall.

    Args:
        model: any causal language model.
        tokenizer: its tokenizer.
        world: where the facts come from.
        pairs: what to ask.
        batch: prompts per forward.
    """
    starts = range(0, len(pairs), batch)
    return [hit for i in starts for hit in _recalled(model, tokenizer, world, pairs[i : i + batch])]


@torch.no_grad()
def _recalled(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, world: World, pairs: Iterable[Pair]
) -> list[bool]:
    prompts, targets = [], []
    for subject, relation, i in pairs:
        prompts.append(tokenizer.encode(fill(world.relations[relation].templates[i], subject)))
        targets.append(tokenizer.encode(" " + world.facts[subject, relation]))
    rows = [prompt + target for prompt, target in zip(prompts, targets, strict=True)]
    longest = max(map(len, rows))
    # Right padding after the last scored token cannot be seen by it: the mask is causal.
    ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows], device=model.device)
    best = model(ids).logits.argmax(-1).tolist()
    return [
        guess[len(prompt) - 1 : len(prompt) - 1 + len(target)] == target
        for guess, prompt, target in zip(best, prompts, targets, strict=True)
    ]
