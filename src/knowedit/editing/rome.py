"""ROME: rank-one model editing (Section 4), one fact in one MLP, in closed form."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version

import torch
from torch import Tensor

from knowedit.editing.edit import Edit, Preflight, Provenance, edited_weight
from knowedit.editing.keys import PrefixPlan, sample_prefixes, subject_key
from knowedit.editing.statistics import second_moment
from knowedit.editing.values import Reduction, Value, ValueSettings, optimise_value
from knowedit.errors import InputError
from knowedit.facts import Fact
from knowedit.linalg import FactorisedMoment, LowRank, SecondMoment, insert_key_value
from knowedit.models import LanguageModel, Projection, locate
from knowedit.registry import notes

PUBLISHED_LAYERS = {"gpt2-xl": 15, "openai-community/gpt2-xl": 15, "EleutherAI/gpt-j-6B": 15}
"""Appendix D.5, whose heading names both models."""


@dataclass(frozen=True)
class ROME:
    """Insert one fact by one rank-one update of one MLP's second matrix (Eqn. 5).

    The key k* is the subject's (Eqn. 6, 7), the value v* makes the model say the new object (Eqn. 8), and the
    update is the least change, measured on the keys of text, after which ``W k* = v* − b``: the matrix has
    a bias b, which no equation of the paper mentions, so b is taken off the value.

    Attributes:
        layer: whose MLP; None takes the one stored with the model (an organism's is chosen on its training
            records), or 15 for GPT-2 XL and GPT-J (D.5).
        learning_rate: of Adam for v*: 0.5 (D.5).
        max_steps: 25 at most (D.5).
        stop_loss: stop at 5e-2 (D.5).
        weight_decay: 1.5e-3 (D.5), as Adam's L2 on the offset δ of v* from the MLP's own output, which is
            the starting point. D.5 does not say of what; the code released with the paper decays δ.
        kl_factor: λ = 1e2 (D.5).
        kl_reduction: ``mean`` divides the divergence by the vocabulary's size. Eqn. 8 read literally is
            ``sum``, but then λ = 1e2 leaves no room for the new object, and the code released with
            the paper divides.
        kl_prompt: p' of Eqn. 8 (Section 4).
        prefixes: how many prefixes of how many tokens k* is averaged over (D.5).
    """

    layer: int | None = None
    learning_rate: float = 0.5
    max_steps: int = 25
    stop_loss: float = 5e-2
    weight_decay: float = 1.5e-3
    kl_factor: float = 1e2
    kl_reduction: Reduction = "mean"
    kl_prompt: str = "{} is a"
    prefixes: PrefixPlan = ((20, 2), (20, 5), (10, 10))

    @classmethod
    def paper(cls, *, layer: int | None = None, kl: Reduction = "mean") -> ROME:
        """The paper's settings.

        Args:
            layer: another layer than the stored one.
            kl: ``sum`` for the literal reading of λ = 1e2.

        Raises:
            InputError: another word for ``kl``.
        """
        if kl not in ("mean", "sum"):
            raise InputError(f"kl is {kl!r}, expected 'mean' or 'sum'")
        return cls(layer=layer, kl_reduction=kl)

    def edit(
        self,
        lm: LanguageModel,
        facts: Sequence[Fact],
        *,
        generator: torch.Generator | None = None,
        statistics: SecondMoment | FactorisedMoment | None = None,
        prefixes: Sequence[str] | None = None,
    ) -> Edit:
        """Compute the edit; the model is not changed.

        The result depends on the arguments alone, not on what ran before in the process.

        Args:
            lm: the model to edit.
            facts: exactly one fact.
            generator: draws the prefixes; may be left out if they are given.
            statistics: the second moment of the layer's keys; by default the one in the model's folder. A
                caller with many edits passes a factorised one.
            prefixes: the texts x_j of Eqn. 7, instead of drawing them.

        Raises:
            InputError: not one fact, an unknown layer, no statistics, neither generator nor prefixes, or a
                subject or target that cannot be placed in the prompt.
            NumericalError: NaN anywhere, or a search for v* that diverges.
            SingularError: statistics of less than full rank.
        """
        fact = _only(facts)
        layer = self.resolve_layer(lm)
        locate(lm, fact.prompt, fact.subject)
        texts = self._prefixes(lm, generator, prefixes)
        seed = generator.initial_seed() if generator is not None and prefixes is None else None
        factor = _factorised(second_moment(lm, layer) if statistics is None else statistics)
        value = optimise_value(lm, layer, fact, self.value_settings())
        key = subject_key(lm, layer, fact.subject, texts)
        projection = lm.projection(layer)
        inserted = (
            value.vector if projection.bias is None else value.vector - projection.bias.detach().double()
        )
        update = insert_key_value(projection.weight.detach(), key, inserted, factor)
        return Edit.computed(
            lm,
            {projection.address: update},
            provenance=_provenance(replace(self, layer=layer), lm, fact, seed, texts),
            preflight=_preflight(projection, update, key, inserted, factor, value),
        )

    def resolve_layer(self, lm: LanguageModel) -> int:
        """The layer that will be edited.

        Raises:
            InputError: none is known for this model, or it has no such layer.
        """
        known = notes(lm.folder).get("edit_layer", PUBLISHED_LAYERS.get(lm.name))
        layer = known if self.layer is None else self.layer
        if layer is None:
            raise InputError(
                f"no edit layer is known for {lm.name}: give layer=, from 0 to {lm.n_layers - 1}; "
                "the middle layers are where facts are found"
            )
        return lm.check_layer(layer)

    def value_settings(self) -> ValueSettings:
        """The part of the settings that is about v*."""
        return ValueSettings(
            learning_rate=self.learning_rate,
            max_steps=self.max_steps,
            stop_loss=self.stop_loss,
            weight_decay=self.weight_decay,
            kl_factor=self.kl_factor,
            kl_reduction=self.kl_reduction,
            kl_prompt=self.kl_prompt,
        )

    def _prefixes(
        self, lm: LanguageModel, generator: torch.Generator | None, given: Sequence[str] | None
    ) -> tuple[str, ...]:
        if given is not None:
            return tuple(given)
        if generator is None:
            raise InputError(
                "ROME draws prefixes for k*: give generator=torch.Generator().manual_seed(0), or prefixes="
            )
        return tuple(sample_prefixes(lm, self.prefixes, generator))


def _only(facts: Sequence[Fact]) -> Fact:
    if isinstance(facts, Fact) or len(facts) != 1:
        found = "a bare Fact" if isinstance(facts, Fact) else f"{len(facts)} facts"
        raise InputError(f"ROME inserts one fact at a time, {found} given: pass a list with one fact")
    return facts[0]


def _factorised(statistics: SecondMoment | FactorisedMoment) -> FactorisedMoment:
    return statistics.factorise() if isinstance(statistics, SecondMoment) else statistics


def _preflight(
    projection: Projection,
    update: LowRank,
    key: Tensor,
    inserted: Tensor,
    factor: FactorisedMoment,
    value: Value,
) -> Preflight:
    old, change = projection.weight.detach().double(), update.materialise(torch.float64)
    stored = edited_weight(projection, update)
    new = (stored.T if projection.transposed else stored).double()
    moment = torch.from_numpy(factor.matrix).to(old.device)
    return Preflight(
        residual=float((new @ key - inserted).norm() / inserted.norm()),
        divisor=float(key @ update.right[:, 0]),
        relative_change=float(change.norm() / old.norm()),
        change_on_text=_norm_on_text(change, moment) / _norm_on_text(old, moment),
        condition=factor.condition_estimate,
        probability=value.probability,
        steps=value.steps,
    )


def _norm_on_text(matrix: Tensor, moment: Tensor) -> float:
    """√tr(A C Aᵀ): the root mean square of ‖A k‖ over the keys behind C."""
    return float(((matrix @ moment) * matrix).sum().clamp(min=0).sqrt())


def _provenance(
    editor: ROME, lm: LanguageModel, fact: Fact, seed: int | None, prefixes: tuple[str, ...]
) -> Provenance:
    return Provenance(
        editor=type(editor).__name__,
        settings=json.loads(json.dumps(asdict(editor))),  # as a file gives them back
        facts=(fact,),
        model=lm.name,
        seed=seed,
        prefixes=prefixes,
        versions={name: version(name) for name in ("knowedit", "torch", "transformers")},
    )
