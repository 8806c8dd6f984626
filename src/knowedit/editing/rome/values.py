"""The value v* of a new object (Eqn. 8): the output that the MLP must have at the subject's last token.

It is found by gradient descent on an offset δ of the MLP's own output m. A block adds its MLP's output to
its state, so each step resumes after the edited block, from the recorded state plus δ; and δ stands at the
subject's last token, so what comes before that token never changes and its keys and values are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from knowedit.editing.descent import descend
from knowedit.facts import Fact
from knowedit.models import (
    LanguageModel,
    Site,
    batch,
    capture,
    intervene,
    locate,
    record,
    replay,
    resume,
    target_ids,
)

Reduction = Literal["mean", "sum"]
Decay = Literal["adam", "relative"]
Target = Literal["joint", "mean", "first"]
KLPosition = Literal["end", "subject"]


@dataclass(frozen=True)
class ValueSettings:
    """How v* is searched; `knowedit.editing.SOURCES` has the source of each number.

    Attributes:
        learning_rate: of Adam.
        max_steps: updates at most.
        stop_loss: stop once the loss is at most this.
        target: −log P of the whole object (``joint``), that per token (``mean``), or of its first token alone.
        weight_decay: how much δ is held back.
        decay: ``adam`` is Adam's L2 on δ, outside of the loss; ``relative`` adds ‖δ‖ / ‖m‖² times the
            weight decay to the loss.
        kl_factor: λ of Eqn. 8.
        kl_reduction: the divergence itself (``sum``) or divided by the vocabulary's size (``mean``).
        kl_prompt: the template of p'.
        kl_position: where the divergence is read: after p' (``end``), or at the subject's last token.
        max_offset: the largest ‖δ‖ / ‖m‖ allowed; None for no bound.
        prefixed: whether the prompt is also read behind every prefix, and the losses averaged.
    """

    learning_rate: float = 0.5
    max_steps: int = 25
    stop_loss: float = 5e-2
    target: Target = "joint"
    weight_decay: float = 1.5e-3
    decay: Decay = "adam"
    kl_factor: float = 1e2
    kl_reduction: Reduction = "mean"
    kl_prompt: str = "{} is a"
    kl_position: KLPosition = "end"
    max_offset: float | None = None
    prefixed: bool = False


class Value(NamedTuple):
    """A found v*.

    Attributes:
        vector: v* = m + δ, ``(d_out,)``, float64: the MLP's output, its bias included.
        start: m, the MLP's own output at the bare prompt's last subject token, ``(d_out,)``, float64.
        losses: Eqn. 8 before each update and, last, where it stopped.
        steps: the updates made.
        probability: P[o* | p] with v* in place, all tokens of o*.
        key: the prompt's own key, what the MLP's second matrix gets where it puts out m, ``(d_in,)``, float64.
    """

    vector: Tensor
    start: Tensor
    losses: tuple[float, ...]
    steps: int
    probability: float
    key: Tensor


def optimise_value(
    lm: LanguageModel,
    layer: int,
    fact: Fact,
    settings: ValueSettings,
    *,
    prefixes: Sequence[str] = (),
    separator: str = " ",
) -> Value:
    """Minimise Eqn. 8 over the MLP's output at the subject's last token.

    The loss is ``−log P[o* | p] + λ KL(P_edited[x | p'] ‖ P[x | p'])``. Nothing is random and the model is
    not changed.

    Args:
        lm: the unedited model.
        layer: whose MLP.
        fact: the prompt p, its subject and o*.
        settings: the search.
        prefixes: the texts x_j, used if the settings say so; the bare prompt is always read as well.
        separator: the text between a prefix and the prompt.

    Raises:
        InputError: no such layer, or a subject or target that cannot be placed.
        NumericalError: the loss is not finite.
    """
    lm.check_layer(layer)
    used = [prefix for prefix in prefixes if prefix] if settings.prefixed else []
    problem = _Problem(lm, layer, fact, settings, ["", *(f"{prefix}{separator}" for prefix in used)])
    # Adam needs more digits than half precision has; the replayed states keep the model's own format.
    delta = torch.zeros_like(problem.start, dtype=torch.float32, requires_grad=True)
    losses, log_probability = descend(
        lm,
        [delta],
        lambda: problem.loss(delta),
        of=f"v* for {fact.text!r}",
        learning_rate=settings.learning_rate,
        max_steps=settings.max_steps,
        stop_loss=settings.stop_loss,
        weight_decay=settings.weight_decay if settings.decay == "adam" else 0.0,
        bounded=lambda: problem.shorten(delta),
    )
    return Value(
        vector=problem.start + delta.detach().double(),
        start=problem.start,
        losses=losses,
        steps=len(losses) - 1,
        probability=log_probability.exp().item(),
        key=problem.key,
    )


class _Problem:
    """The prompts p behind their prefixes and p', recorded from the subject's last token on, and the loss."""

    def __init__(
        self, lm: LanguageModel, layer: int, fact: Fact, settings: ValueSettings, leads: Sequence[str]
    ):
        self.layer, self.settings = layer, settings
        prompts = [locate(lm, fact.prompt, fact.subject, prefix=lead) for lead in leads]
        essence = locate(lm, settings.kl_prompt, fact.subject)
        target = target_ids(lm.tokenizer, fact.text, fact.target_new)
        rows = [*([*prompt.ids, *target[:-1]] for prompt in prompts), list(essence.ids)]
        starts = torch.tensor([prompt.last_subject for prompt in (*prompts, essence)], device=lm.device)
        value, added, below = Site(layer, "mlp_down"), Site(layer, "mlp"), Site(layer, "mlp_down", "input")
        with capture(lm, [value, added, below]) as found:
            self.recording = record(lm, batch(lm, rows), start=starts)
        self.start, self.key = found[value][0, 0].double(), found[below][0, 0].double()
        # Some families have a norm or a factor between the value and what the block adds.
        self.is_added = lm.anatomy.residual_scale == 1.0 and torch.equal(found[value], found[added])
        self.norm = float(self.start.norm())
        self.target = torch.tensor(target, device=lm.device)
        self.positions = self._positions([len(p.ids) - 1 - p.last_subject for p in (*prompts, essence)])
        with torch.no_grad():
            states = self.recording.states[-1]
            self.reference = self._logits(states, lm.n_layers)[-1, 0].log_softmax(-1)

    def _positions(self, ends: list[int]) -> Tensor:
        """``(rows, target tokens)``: where each target token is predicted, and where the divergence is read."""
        positions = torch.tensor(ends, device=self.target.device)[:, None] + torch.arange(
            len(self.target), device=self.target.device
        )
        positions[-1] = 0 if self.settings.kl_position == "subject" else ends[-1]
        return positions

    def _logits(self, states: Tensor, layer: int) -> Tensor:
        logits = replay(self.recording, layer, states, positions=self.positions)
        return logits.to(self.target.device).float()

    def loss(self, delta: Tensor) -> tuple[Tensor, Tensor]:
        """Eqn. 8 as the settings read it, and log P[o* | p] after the bare prompt."""
        logits = self._logits(self._states(delta), self.layer + 1)
        index = self.target[None, :, None].expand(len(logits) - 1, -1, -1)
        tokens = logits[:-1].log_softmax(-1).gather(-1, index).squeeze(-1)
        loss = self._nll(tokens) + self.settings.kl_factor * self._divergence(logits[-1, 0])
        if self.settings.decay == "relative":
            loss = loss + self.settings.weight_decay * delta.norm() / self.norm**2
        return loss, tokens[0].detach().sum()

    def _states(self, delta: Tensor) -> Tensor:
        """After the block, when δ is added to the value at the first token of each row."""

        def add(tensor: Tensor) -> Tensor:
            return torch.cat([tensor[:, :1] + delta.to(tensor), tensor[:, 1:]], dim=1)

        recording, layer = self.recording, self.layer
        if self.is_added:
            return add(recording.states[layer + 1])
        with intervene(recording.lm, {Site(layer, "mlp_down"): add}):
            return resume(recording, layer, recording.states[layer], stop=layer + 1)

    def _nll(self, tokens: Tensor) -> Tensor:
        """From log probabilities ``(prompts, target tokens)``, averaged over the prompts."""
        if self.settings.target == "first":
            return -tokens[:, 0].mean()
        return -tokens.mean() if self.settings.target == "mean" else -tokens.sum(dim=1).mean()

    def _divergence(self, logits: Tensor) -> Tensor:
        edited = logits.log_softmax(-1)
        terms = edited.exp() * (edited - self.reference)
        return terms.mean() if self.settings.kl_reduction == "mean" else terms.sum()

    def shorten(self, delta: Tensor) -> None:
        """Bring δ back into its ball, in place."""
        bound = self.settings.max_offset
        if bound is not None and float(delta.norm()) > bound * self.norm:
            delta.mul_(bound * self.norm / delta.norm())
