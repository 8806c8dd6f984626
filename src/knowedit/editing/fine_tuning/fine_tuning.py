"""Fine-tuning on one fact (Appendix D): FT, FT+L and AttnEdit are parameter sets of one editor.

What goes into the edited block is the same at every step, so it is recorded once; the model itself is never written
to. The change δ is what is optimised: Adam does not see where it starts, and ±ε then bounds δ exactly.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from knowedit.editing.descent import descend
from knowedit.editing.editor import Editor
from knowedit.editing.edits.contradictions import check_facts
from knowedit.editing.edits.edit import Edit
from knowedit.editing.edits.provenance import Diagnostics, Provenance
from knowedit.editing.edits.updates import Address, Dense, path_of
from knowedit.editing.fine_tuning.known_settings import ATTN_EDIT, FT, FT_L, known_settings
from knowedit.editing.fine_tuning.likelihood import Likelihood
from knowedit.errors import InputError
from knowedit.facts import Fact
from knowedit.models import LanguageModel, generator_from

Bound: TypeAlias = float | Literal["known"] | None
Target = Literal["joint", "mean", "first"]
RATE = 5e-4
TARGETS = ("joint", "mean", "first")


@dataclass(frozen=True)
class FineTuning(Editor):
    """Lower −log P[o* | p], all tokens of o*, by Adam on some weights of one layer.

    Attributes:
        learning_rate: of Adam; None takes that of the model where one is known, else `RATE` (Appendix D).
        max_steps: updates at most (Appendix D).
        stop_loss: stop once the loss is at most this (Appendix D).
        target: −log P of the whole object (``joint``), that per token (``mean``), or of its first token alone.
        targets: parts whose weights are trained; ``attention_in`` is W_Q, W_K and W_V, fused or not.
        layer: whose; None takes the known one.
        bound: ε, the most that an entry may differ from its old value, kept by clamping after each step;
            None for no bound; ``known`` for the known one.
        biases: whether the biases of the targets are trained too, as the released code does.
        method: whose known settings fill in what is not given: those in the notes of the model's folder, else
            those published for its name (its last part, in lower case).

    Raises:
        InputError: a setting that cannot be used.
    """

    learning_rate: float | None = None
    max_steps: int = 25
    stop_loss: float = 3e-2
    target: Target = "joint"
    targets: tuple[str, ...] = ("mlp_down",)
    layer: int | None = None
    bound: Bound = None
    biases: bool = False
    method: str = ""

    def __post_init__(self) -> None:
        if self.learning_rate is not None and not 0 < self.learning_rate < math.inf:
            raise InputError(f"the learning rate is {self.learning_rate}: give a positive and finite number")
        if self.max_steps < 0:
            raise InputError(f"max_steps is {self.max_steps}: give 0 or more")
        if self.target not in TARGETS:
            raise InputError(f"target is {self.target!r}: use one of {', '.join(TARGETS)}")
        if not isinstance(self.targets, tuple) or not self.targets:
            raise InputError(f"targets is {self.targets!r}: give a tuple of parts, such as ('mlp_down',)")
        if self.bound is not None and self.bound != "known" and not 0 < self.bound < math.inf:
            raise InputError(
                f"the bound ε is {self.bound}: give a positive and finite number, or None for no bound"
            )
        if self.bound is not None and self.method == FT:
            raise InputError(f"FT has no bound ε, {self.bound} was given: use FT+L (ft+l)")

    @classmethod
    def ft(cls, *, layer: int | None = None) -> FineTuning:
        """FT: one MLP's last matrix, without a bound (Appendix D).

        Args:
            layer: another layer than the known one.
        """
        return cls(layer=layer, method=FT)

    @classmethod
    def ft_l(cls, *, layer: int | None = None, bound: Bound = "known") -> FineTuning:
        """FT+L: FT with an L∞ bound (Appendix D).

        Args:
            layer: another layer than the known one.
            bound: another ε than the known one.
        """
        return cls(layer=layer, bound=bound, method=FT_L)

    @classmethod
    def attn_edit(cls, *, layer: int | None = None, bound: Bound = "known") -> FineTuning:
        """AttnEdit: W_Q, W_K and W_V of one late layer, with an L∞ bound (Section 5.3, Appendix E).

        Args:
            layer: another layer than the known one.
            bound: another ε than the known one.
        """
        return cls(targets=("attention_in",), layer=layer, bound=bound, method=ATTN_EDIT)

    @classmethod
    def released_ft(cls, *, layer: int | None = None) -> FineTuning:
        """FT of the code first released: the first token of o* alone, the bias too, and a lower stop.

        Args:
            layer: another layer than the known one.
        """
        return replace(cls.ft(layer=layer), biases=True, target="first", stop_loss=1e-2)

    @property
    def label(self) -> str:
        """The name of the method."""
        return self.method or super().label

    def prepared(self, lm: LanguageModel) -> FineTuning:
        """The same editor with its layer, bound and learning rate filled in for a model.

        Raises:
            InputError: none is known for this model, or it has no such layer.
        """
        known = known_settings(lm, self.method)
        layer = known.get("layer") if self.layer is None else self.layer
        if layer is None:
            raise InputError(f"no layer is known for {lm.name}: give layer=, from 0 to {lm.n_layers - 1}")
        bound = known.get("bound") if self.bound == "known" else self.bound
        if self.bound == "known" and bound is None:
            raise InputError(f"no bound ε is known for {lm.name}: give bound=, for instance 1e-3")
        rate = known.get("learning_rate", RATE) if self.learning_rate is None else self.learning_rate
        return replace(self, layer=lm.check_layer(layer), bound=bound, learning_rate=rate)

    def edit(
        self,
        lm: LanguageModel,
        facts: Sequence[Fact],
        *,
        generator: torch.Generator | None = None,
        seed: int | None = None,
    ) -> Edit:
        """Compute the edit; the model is not changed and nothing is drawn.

        Args:
            lm: the model to edit.
            facts: one or more; the loss is their mean.
            generator: not used; every editor takes one.
            seed: not used either.

        Raises:
            InputError: no facts, two objects for one prompt, an unknown layer, or a target that cannot follow its
                prompt.
            NumericalError: a loss that is not finite.
        """
        if isinstance(facts, Fact) or not facts:
            found = "a bare Fact" if isinstance(facts, Fact) else "no facts"
            raise InputError(f"{found} given: pass a list with at least one fact")
        check_facts(facts)
        generator_from(generator, seed)  # refuses both; nothing is drawn
        return self.prepared(lm)._edit(lm, facts)

    def _edit(self, lm: LanguageModel, facts: Sequence[Fact]) -> Edit:
        addresses = self.addresses(lm)
        own = {path: lm.model.get_parameter(path).detach() for path in (path_of(lm, a) for a in addresses)}
        deltas, steps, probability = self._searched(lm, facts, own)
        updates = {
            address: Dense(_oriented(lm, address, delta), tensor.dtype)
            for address, tensor, delta in zip(addresses, own.values(), deltas, strict=True)
        }
        old = sum(float(tensor.double().square().sum()) for tensor in own.values())
        new = sum(float(delta.double().square().sum()) for delta in deltas)
        found = Diagnostics(relative_change=(new / old) ** 0.5, probability=probability, steps=steps)
        return Edit.computed(lm, updates, provenance=Provenance.of(self, lm, facts), diagnostics=found)

    def _searched(
        self, lm: LanguageModel, facts: Sequence[Fact], own: Mapping[str, Tensor]
    ) -> tuple[list[Tensor], int, float]:
        """One change for each tensor, in the orientation of its storage; the steps; P[o* | p], mean over the facts."""
        assert self.layer is not None
        assert self.bound != "known"
        bound, likelihood = self.bound, Likelihood(lm, self.layer, facts, self.target)
        old = list(own.values())
        # Adam needs more digits than half precision has; the block computes in the model's own format.
        wide = [torch.float64 if tensor.dtype == torch.float64 else torch.float32 for tensor in old]
        deltas = [torch.zeros_like(t, dtype=d).requires_grad_() for t, d in zip(old, wide, strict=True)]
        block = lm.anatomy.path("block", self.layer) + "."
        names = [path.removeprefix(block) for path in own]

        def loss() -> tuple[Tensor, Tensor]:
            new = [(own.to(d.dtype) + d).to(own.dtype) for own, d in zip(old, deltas, strict=True)]
            return likelihood.loss(dict(zip(names, new, strict=True)))

        def clamp() -> None:
            if bound is not None:
                for delta in deltas:
                    delta.clamp_(-bound, bound)

        losses, logs = descend(
            lm,
            deltas,
            loss,
            of="fine-tuning",
            learning_rate=self.learning_rate or RATE,
            max_steps=self.max_steps,
            stop_loss=self.stop_loss,
            bounded=clamp,
        )
        return [delta.detach() for delta in deltas], len(losses) - 1, float(logs.exp().mean())

    def addresses(self, lm: LanguageModel) -> list[Address]:
        """What is trained, in the order of `targets`, each weight before its bias.

        Raises:
            InputError: no such part, or none known layer.
        """
        layer = self.prepared(lm).layer
        assert layer is not None
        parts = dict.fromkeys(part for target in self.targets for part in lm.anatomy.expand(target))
        found: list[Address] = []
        for part in parts:
            found.append(Address(layer, part))
            if self.biases and lm.projection(layer, part).bias is not None:
                found.append(Address(layer, part, "bias"))
        return found


def _oriented(lm: LanguageModel, address: Address, delta: Tensor) -> Tensor:
    """A change as ``(d_out, d_in)`` from the layer's own orientation."""
    transposed = lm.projection(address.layer, address.part).transposed and delta.ndim == 2
    return (delta.T if transposed else delta).contiguous()
