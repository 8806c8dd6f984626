"""ROME: rank-one model editing (Section 4), one fact in one MLP, in closed form."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from typing import Any, Literal

import torch
from torch import Tensor

from knowedit.bundled import notes
from knowedit.editing.edit import Edit
from knowedit.editing.provenance import Provenance
from knowedit.editing.rome.insertion import insert
from knowedit.editing.rome.keys import BARE, subject_key
from knowedit.editing.rome.prefixes import PrefixPlan, sample_prefixes
from knowedit.editing.rome.preflight import measure_preflight
from knowedit.editing.rome.values import Reduction, ValueSettings, optimise_value
from knowedit.editing.statistics.second_moments import second_moment
from knowedit.errors import InputError
from knowedit.facts import Fact
from knowedit.linalg import FactorisedMoment, SecondMoment
from knowedit.models import LanguageModel, locate

Published = Literal["gpt2-xl", "gpt-j"]
KeyText = Literal["subject", "prompt"]
ConstraintKey = Literal["average", "prompt"]


@dataclass(frozen=True)
class ROME(ValueSettings):
    """Insert one fact by one rank-one update of one MLP's second matrix (Eqn. 5).

    The key k* is the subject's (Eqn. 6, 7), the value v* makes the model say the new object (Eqn. 8), and the
    update is the least change, measured on the keys of text, after which ``W k* = v* − b``: the matrix has
    a bias b, which no equation of the paper mentions, so b is taken off the value.

    The defaults are the paper's; `PROFILES` names them and those of later code, and `SOURCES` says where each
    comes from. The attributes of the search for v* are those of `ValueSettings`.

    Attributes:
        layer: whose MLP; None takes the one stored with the model (an organism's is chosen on its training
            records), or that of ``known_layers``.
        known_layers: the layers published for models, by the last part of the model's name in lower case.
        prefixes: the texts behind which the subject is read for k*.
        key_text: what is read behind a prefix: the subject alone (Eqn. 7) or the whole prompt.
        constraint_key: the key that the new value belongs to: k* itself, or that of the bare prompt while the
            direction stays C⁻¹k* (see `knowedit.editing.rome.insertion`).
        max_update: the largest norm of the update; None for no bound.
    """

    layer: int | None = None
    known_layers: tuple[tuple[str, int], ...] = (("gpt2-xl", 15), ("gpt-j-6b", 15))
    prefixes: PrefixPlan = field(default_factory=PrefixPlan)
    key_text: KeyText = "subject"
    constraint_key: ConstraintKey = "average"
    max_update: float | None = None

    @classmethod
    def paper(cls, *, layer: int | None = None, kl: Reduction = "mean") -> ROME:
        """The settings of arXiv 2202.05262 v1 (Section 4, Appendix D.5).

        Args:
            layer: another layer than the stored one.
            kl: ``sum`` for the literal reading of λ = 1e2.

        Raises:
            InputError: another word for ``kl``.
        """
        if kl not in ("mean", "sum"):
            raise InputError(f"kl is {kl!r}, expected 'mean' or 'sum'")
        return cls(layer=layer, kl_reduction=kl)

    @classmethod
    def released_2022_02(cls, *, layer: int | None = None, model: Published = "gpt2-xl") -> ROME:
        """The settings of the code first released, in February 2022.

        Args:
            layer: another layer than the stored one.
            model: whose hyper-parameter file; the two differ in λ and in the weight decay.

        Raises:
            InputError: another word for ``model``.
        """
        if model not in ("gpt2-xl", "gpt-j"):
            raise InputError(f"model is {model!r}, expected 'gpt2-xl' or 'gpt-j'")
        return cls(
            layer=layer,
            known_layers=(("gpt2-xl", 16), ("gpt-j-6b", 5)),
            max_steps=20,
            target="first",
            weight_decay=1.5e-3 if model == "gpt2-xl" else 2e-3,
            kl_factor=5e2 if model == "gpt2-xl" else 1e3,
            prefixes=PrefixPlan(start="The", count_start=True, top_k=5, empty=True),
            constraint_key="prompt",
            max_update=100.0,
        )

    @classmethod
    def released_2022_10(cls, *, layer: int | None = None) -> ROME:
        """The settings of the code as last released, in October 2022.

        Args:
            layer: another layer than the stored one.
        """
        return cls(
            layer=layer,
            known_layers=(("gpt2-xl", 17), ("gpt-j-6b", 5)),
            max_steps=19,
            target="mean",
            weight_decay=0.5,
            decay="relative",
            kl_factor=0.0625,
            kl_reduction="sum",
            kl_position="subject",
            max_offset=4.0,
            prefixed=True,
            prefixes=PrefixPlan(((10, 5), (10, 10)), count_start=True, top_k=5, empty=True, separator=". "),
            key_text="prompt",
            constraint_key="prompt",
        )

    @classmethod
    def consistent_keys(cls, *, layer: int | None = None) -> ROME:
        """The October settings with the average key on both sides: what later work calls r-ROME.

        Args:
            layer: another layer than the stored one.
        """
        return replace(cls.released_2022_10(layer=layer), constraint_key="average")

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> ROME:
        """The editor whose fields an edit's provenance holds, also after they were a file's JSON.

        Raises:
            InputError: fields that this version does not have.
        """
        fields = {name: _as_tuples(value) for name, value in settings.items()}
        plan = {name: _as_tuples(value) for name, value in fields.pop("prefixes", {}).items()}
        try:
            return cls(**fields, prefixes=PrefixPlan(**plan))
        except TypeError as error:
            raise InputError(
                f"these settings are not those of ROME ({error}): use the version of knowedit that wrote them"
            ) from None

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
        value = optimise_value(lm, layer, fact, self, prefixes=texts, separator=self.prefixes.separator)
        key, constraint = self._keys(lm, layer, fact, texts)
        projection = lm.projection(layer)
        bias = 0.0 if projection.bias is None else projection.bias.detach().double()
        inserted = value.vector - bias
        weight = projection.weight.detach()
        update = insert(weight, key, inserted, factor, constraint=constraint, bound=self.max_update)
        return Edit.computed(
            lm,
            {projection.address: update},
            provenance=_provenance(replace(self, layer=layer), lm, fact, seed, texts),
            preflight=measure_preflight(projection, update, key, constraint, inserted, factor, value),
        )

    def resolve_layer(self, lm: LanguageModel) -> int:
        """The layer that will be edited.

        Raises:
            InputError: none is known for this model, or it has no such layer.
        """
        published = dict(self.known_layers).get(lm.name.rpartition("/")[2].lower())
        known = notes(lm.folder).get("edit_layer", published)
        layer = known if self.layer is None else self.layer
        if layer is None:
            raise InputError(
                f"no edit layer is known for {lm.name}: give layer=, from 0 to {lm.n_layers - 1}; "
                "the middle layers are where facts are found"
            )
        return lm.check_layer(layer)

    def _keys(
        self, lm: LanguageModel, layer: int, fact: Fact, prefixes: tuple[str, ...]
    ) -> tuple[Tensor, Tensor | None]:
        """k*, and the bare prompt's key where the value belongs to that one."""
        template = BARE if self.key_text == "subject" else fact.prompt
        separator = self.prefixes.separator
        key = subject_key(lm, layer, fact.subject, prefixes, template=template, separator=separator)
        if self.constraint_key == "average":
            return key, None
        return key, subject_key(lm, layer, fact.subject, [""], template=fact.prompt)

    def _prefixes(
        self, lm: LanguageModel, generator: torch.Generator | None, given: Sequence[str] | None
    ) -> tuple[str, ...]:
        if given is not None:
            return tuple(given)
        if generator is None:
            raise InputError(
                "ROME draws prefixes for k*: give generator=torch.Generator().manual_seed(0), or prefixes="
            )
        return sample_prefixes(lm, self.prefixes, generator)


def _as_tuples(value: Any) -> Any:
    return tuple(_as_tuples(part) for part in value) if isinstance(value, list | tuple) else value


def _only(facts: Sequence[Fact]) -> Fact:
    if isinstance(facts, Fact) or len(facts) != 1:
        found = "a bare Fact" if isinstance(facts, Fact) else f"{len(facts)} facts"
        raise InputError(f"ROME inserts one fact at a time, {found} given: pass a list with one fact")
    return facts[0]


def _factorised(statistics: SecondMoment | FactorisedMoment) -> FactorisedMoment:
    return statistics.factorise() if isinstance(statistics, SecondMoment) else statistics


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
