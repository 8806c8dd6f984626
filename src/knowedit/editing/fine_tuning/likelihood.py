"""The probability of new objects when one block computes with other tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from knowedit.facts import Fact
from knowedit.models import LanguageModel, batch, encode, record, replay, target_ids


class Likelihood:
    """Facts recorded once, and −log P of their objects when a block computes with other tensors."""

    def __init__(self, lm: LanguageModel, layer: int, facts: Sequence[Fact], target: str) -> None:
        self.layer, self.kind = layer, target
        heads = [encode(lm.tokenizer, fact.text) for fact in facts]
        objects = [target_ids(lm.tokenizer, fact.text, fact.target_new) for fact in facts]
        rows = [[*head, *ids[:-1]] for head, ids in zip(heads, objects, strict=True)]
        self.recording = record(lm, batch(lm, rows))
        longest = max(map(len, objects))
        # Each token is read off where its own predecessors end; rows of shorter objects are masked.
        ids = [[*own, *[0] * (longest - len(own))] for own in objects]
        self.ids = torch.tensor(ids, device=lm.device)
        self.lengths = torch.tensor([len(own) for own in objects], device=lm.device)
        offset = torch.arange(longest, device=lm.device)
        starts = torch.tensor([len(head) - 1 for head in heads], device=lm.device)
        self.mask = offset < self.lengths[:, None]
        self.positions = starts[:, None] + offset.minimum(self.lengths[:, None] - 1)

    def loss(self, tensors: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The mean loss over the facts, and log P[o* | p] of each ``(facts,)``."""
        logits = replay(self.recording, self.layer, positions=self.positions, tensors=tensors)
        logits = logits.to(self.ids.device)
        wide = logits if logits.dtype == torch.float64 else logits.float()
        tokens = wide.log_softmax(-1).gather(-1, self.ids[..., None]).squeeze(-1)
        joint = torch.where(self.mask, tokens, 0).sum(1)
        by_kind = {"joint": joint, "mean": joint / self.lengths, "first": tokens[:, 0]}
        return -by_kind[self.kind].mean(), joint.detach()
