"""The value v* of a new object (Eqn. 8): what the MLP must say at the subject's last token.

It is found by gradient descent on an offset δ of the MLP's own output m. Everything before the end of the
edited block is computed once: a block adds its MLP's output to its state, so each step replays the
blocks after it, from the recorded state plus δ.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from knowedit.errors import NumericalError
from knowedit.facts import Fact
from knowedit.models import LanguageModel, Site, batch, capture, locate, record, replay, target_ids

Reduction = Literal["mean", "sum"]


@dataclass(frozen=True)
class ValueSettings:
    """How v* is searched; see `ROME` for where each number comes from.

    Attributes:
        learning_rate: of Adam.
        max_steps: updates at most.
        stop_loss: stop once the loss is at most this.
        weight_decay: Adam's L2 on δ.
        kl_factor: λ of Eqn. 8.
        kl_reduction: the divergence itself (``sum``) or divided by the vocabulary's size (``mean``).
        kl_prompt: the template of p'.
    """

    learning_rate: float
    max_steps: int
    stop_loss: float
    weight_decay: float
    kl_factor: float
    kl_reduction: Reduction
    kl_prompt: str


@dataclass(frozen=True, eq=False)
class Value:
    """A found v*.

    Attributes:
        vector: v* = m + δ, ``(d_out,)``, float64: the MLP's output, its bias included.
        start: m, the MLP's own output at the prompt's last subject token, ``(d_out,)``, float64.
        losses: Eqn. 8 before each update and, last, where it stopped.
        steps: the updates made.
        probability: P[o* | p] with v* in place.
    """

    vector: Tensor
    start: Tensor
    losses: tuple[float, ...]
    steps: int
    probability: float


def optimise_value(lm: LanguageModel, layer: int, fact: Fact, settings: ValueSettings) -> Value:
    """Minimise Eqn. 8 over the MLP's output at the subject's last token.

    The loss is ``−log P[o* | p] + λ KL(P_edited[x | p'] ‖ P[x | p'])``, with the joint probability of all
    tokens of o*. Nothing is random and the model is not changed.

    Args:
        lm: the unedited model.
        layer: whose MLP.
        fact: the prompt p, its subject and o*.
        settings: the search.

    Raises:
        InputError: no such layer, or a subject or target that cannot be placed.
        NumericalError: the loss is not finite.
    """
    lm.check_layer(layer)
    problem = _Problem(lm, layer, fact, settings)
    # Adam needs more digits than half precision has; the replayed states keep the model's own format.
    delta = torch.zeros(lm.width, device=lm.device, dtype=torch.float32, requires_grad=True)
    adam = torch.optim.Adam([delta], lr=settings.learning_rate, weight_decay=settings.weight_decay)
    losses: list[float] = []
    while True:
        nll, loss = problem.loss(delta)
        losses.append(float(loss.detach()))
        if not torch.isfinite(loss):
            raise NumericalError(
                f"the loss of v* is {losses[-1]} after {len(losses) - 1} steps for {fact.text!r}: "
                "lower the learning rate or use float32"
            )
        if losses[-1] <= settings.stop_loss or len(losses) > settings.max_steps:
            break
        (delta.grad,) = torch.autograd.grad(loss, [delta])
        adam.step()
    return Value(
        vector=problem.start + delta.detach().double(),
        start=problem.start,
        losses=tuple(losses),
        steps=len(losses) - 1,
        probability=float(torch.exp(-nll.detach())),
    )


class _Problem:
    """The two prompts p and p', recorded once, and the loss as a function of δ."""

    def __init__(self, lm: LanguageModel, layer: int, fact: Fact, settings: ValueSettings):
        self.layer, self.settings = layer, settings
        prompt = locate(lm, fact.prompt, fact.subject)
        essence = locate(lm, settings.kl_prompt, fact.subject)
        target = target_ids(lm.tokenizer, fact.text, fact.target_new)
        rows = [[*prompt.ids, *target[:-1]], list(essence.ids)]
        site = Site(layer, "mlp")
        with capture(lm, [site]) as found:
            self.recording = record(lm, batch(lm, rows))
        self.subjects = torch.tensor([prompt.last_subject, essence.last_subject], device=lm.device)
        self.start = found[site][0, prompt.last_subject].double()
        self.target = torch.tensor(target, device=lm.device)
        ends = torch.arange(len(target), device=lm.device)
        self.positions = torch.stack(
            [len(prompt.ids) - 1 + ends, torch.full_like(ends, len(essence.ids) - 1)]
        )
        self.reference = self.recording.logits[1].float().log_softmax(-1)

    def loss(self, delta: Tensor) -> tuple[Tensor, Tensor]:
        """``−log P[o* | p]`` and the whole of Eqn. 8."""
        states = self.recording.states[self.layer + 1].clone()
        states[torch.arange(2, device=states.device), self.subjects] += delta.to(states.dtype)
        logits = replay(self.recording, self.layer + 1, states, positions=self.positions).float()
        nll = -logits[0].log_softmax(-1).gather(-1, self.target[:, None]).sum()
        edited = logits[1, 0].log_softmax(-1)
        kl = (edited.exp() * (edited - self.reference)).sum()
        if self.settings.kl_reduction == "mean":
            kl = kl / len(edited)
        return nll, nll + self.settings.kl_factor * kl
