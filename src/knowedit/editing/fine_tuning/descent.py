"""Gradient descent on some tensors of one block, by replays from that block on.

What goes into the block is the same at every step, so it is recorded once; the model itself is never written
to. The change δ is what is optimised: Adam does not see where it starts, and ±ε then bounds δ exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from knowedit.errors import InputError, NumericalError
from knowedit.facts import Fact
from knowedit.models import LanguageModel, batch, encode, record, replay, target_ids
from knowedit.models.overlays import Slot

Target = Literal["joint", "mean", "first"]
RATE = 5e-4
TARGETS = ("joint", "mean", "first")


@dataclass(frozen=True)
class Settings:
    """How the weights are searched.

    Attributes:
        learning_rate: of Adam; None takes that of the model where one is known, else `RATE` (Appendix D).
        max_steps: updates at most (Appendix D).
        stop_loss: stop once the loss is at most this (Appendix D).
        target: −log P of the whole object (``joint``), that per token (``mean``), or of its first token alone.

    Raises:
        InputError: a setting that cannot be used.
    """

    learning_rate: float | None = None
    max_steps: int = 25
    stop_loss: float = 3e-2
    target: Target = "joint"

    def __post_init__(self) -> None:
        if self.learning_rate is not None and not self.learning_rate > 0:
            raise InputError(f"the learning rate is {self.learning_rate}: give a positive number")
        if self.max_steps < 0:
            raise InputError(f"max_steps is {self.max_steps}: give 0 or more")
        if self.target not in TARGETS:
            raise InputError(f"target is {self.target!r}: use one of {', '.join(TARGETS)}")


@dataclass(frozen=True, eq=False)
class Found:
    """The end of a search.

    Attributes:
        deltas: one change a slot, in the orientation of its storage, float32 or float64.
        losses: before each update and, last, where it stopped.
        steps: the updates made.
        probability: P[o* | p], all tokens, mean over the facts, with the new weights.
    """

    deltas: list[Tensor]
    losses: tuple[float, ...]
    steps: int
    probability: float


class Problem:
    """Facts recorded once, and −log P of their objects when a block computes with other tensors."""

    def __init__(self, lm: LanguageModel, layer: int, facts: Sequence[Fact], target: Target) -> None:
        self.lm, self.layer, self.kind = lm, layer, target
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

    def loss(self, tensors: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The mean loss over the facts, and log P[o* | p] of each ``(facts,)``."""
        logits = replay(self.recording, self.layer, positions=self.positions, tensors=tensors)
        logits = logits.to(self.ids.device)
        wide = logits if logits.dtype == torch.float64 else logits.float()
        tokens = wide.log_softmax(-1).gather(-1, self.ids[..., None]).squeeze(-1)
        joint = torch.where(self.mask, tokens, 0).sum(1)
        by_kind = {"joint": joint, "mean": joint / self.lengths, "first": tokens[:, 0]}
        return -by_kind[self.kind].mean(), joint.detach()


def descend(problem: Problem, slots: Sequence[Slot], settings: Settings, bound: float | None) -> Found:
    """Minimise the loss over the tensors in ``slots``, all of the problem's block.

    Args:
        problem: the loss.
        slots: what is trained.
        settings: of the search.
        bound: ε of ``|δ| ≤ ε``, kept after each step; None for no bound.

    Raises:
        NumericalError: a loss that is not finite.
    """
    old = [slot.tensor.detach() for slot in slots]
    # Adam needs more digits than half precision has; the block computes in the model's own format.
    wide = [torch.float64 if tensor.dtype == torch.float64 else torch.float32 for tensor in old]
    deltas = [torch.zeros_like(t, dtype=d).requires_grad_() for t, d in zip(old, wide, strict=True)]
    block = problem.lm.anatomy.path("block", problem.layer) + "."
    names = [slot.path.removeprefix(block) for slot in slots]
    adam = torch.optim.Adam(deltas, lr=settings.learning_rate or RATE)
    losses: list[float] = []
    with problem.lm.frozen(), torch.enable_grad():
        while True:
            new = [(own.to(d.dtype) + d).to(own.dtype) for own, d in zip(old, deltas, strict=True)]
            loss, logs = problem.loss(dict(zip(names, new, strict=True)))
            losses.append(_finite(float(loss.detach()), len(losses)))
            if losses[-1] <= settings.stop_loss or len(losses) > settings.max_steps:
                break
            for delta, gradient in zip(deltas, torch.autograd.grad(loss, deltas), strict=True):
                delta.grad = gradient
            adam.step()
            if bound is not None:
                for delta in deltas:
                    delta.data.clamp_(-bound, bound)
    return Found([d.detach() for d in deltas], tuple(losses), len(losses) - 1, float(logs.exp().mean()))


def _finite(loss: float, steps: int) -> float:
    if not abs(loss) < float("inf"):
        raise NumericalError(
            f"the loss of fine-tuning is {loss} after {steps} steps: lower the learning rate or use float32"
        )
    return loss
