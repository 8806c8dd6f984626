"""ROME: rank-one model editing (Section 4), one fact in one MLP, in closed form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self

import torch
from torch import Tensor

from knowedit.bundled import notes
from knowedit.editing.editor import Editor
from knowedit.editing.edits.edit import Edit
from knowedit.editing.edits.provenance import Provenance, fields_as_json
from knowedit.editing.rome.diagnostics import diagnose
from knowedit.editing.rome.insertion import insert
from knowedit.editing.rome.key_statistics import KeyStatistics, Statistics
from knowedit.editing.rome.keys import BARE, subject_key
from knowedit.editing.rome.prefixes import PrefixPlan
from knowedit.editing.rome.profiles import NUMBERS
from knowedit.editing.rome.values import Reduction, ValueSettings, optimise_value
from knowedit.errors import InputError
from knowedit.facts import Fact
from knowedit.linalg import FactorisedMoment
from knowedit.models import LanguageModel, generator_from, locate

Published = Literal["gpt2-xl", "gpt-j"]
KeyText = Literal["subject", "prompt"]
ConstraintKey = Literal["average", "prompt", "both"]


@dataclass(frozen=True)
class ROME(Editor, ValueSettings):
    """Insert one fact by one rank-one update of one MLP's second matrix (Eqn. 5).

    The key k* is the subject's (Eqn. 6, 7), the value v* makes the model predict the new object (Eqn. 8), and the
    update is the least change, measured on the keys of text, after which ``W k* = v* − b``: the matrix has
    a bias b, which no equation of the paper mentions, so b is subtracted from the value.

    The defaults are the paper's; `PROFILES` names them and those of later code, and `SOURCES` has the source of each.
    The attributes of the search for v* are those of `ValueSettings`.

    Attributes:
        layer: whose MLP; None takes the one stored with the model (an organism's is chosen on its training
            records), or that of ``known_layers``.
        known_layers: the layers published for models, by the last part of the model's name in lower case.
        prefixes: how the texts are drawn behind which the subject is read for k*, or these texts themselves, each
            followed by a space.
        key_text: what is read behind a prefix: the subject alone (Eqn. 7) or the whole prompt.
        constraint_key: the key that the new value belongs to: k* itself (``average``), that of the bare prompt while
            the direction stays C⁻¹k* (``prompt``), or either of them, by an update of rank two (``both``); see
            `knowedit.editing.rome.insertion`.
        max_update: the largest norm of the update; None for no bound.
        statistics: the second moment of the layer's keys, or its file; None takes that of the model's folder.
            Prepared once, it is factorised once for many edits.
    """

    layer: int | None = None
    known_layers: tuple[tuple[str, int], ...] = (("gpt2-xl", 15), ("gpt-j-6b", 15))
    prefixes: PrefixPlan | tuple[str, ...] = field(default_factory=PrefixPlan)
    key_text: KeyText = "subject"
    constraint_key: ConstraintKey = "average"
    max_update: float | None = None
    statistics: Statistics = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if isinstance(self.prefixes, str):
            raise InputError(
                f"the prefixes are the text {self.prefixes!r}: give a tuple of texts, or a PrefixPlan"
            )
        if not isinstance(self.prefixes, PrefixPlan):
            object.__setattr__(self, "prefixes", tuple(self.prefixes))

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
        return cls(layer=layer, **NUMBERS["paper" if kl == "mean" else "paper-literal-kl"])

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
        name = "released-2022-02" if model == "gpt2-xl" else "released-2022-02-gpt-j"
        return cls(layer=layer, **NUMBERS[name])

    @classmethod
    def released_2022_10(cls, *, layer: int | None = None) -> ROME:
        """The settings of the code as last released, in October 2022.

        Args:
            layer: another layer than the stored one.
        """
        return cls(layer=layer, **NUMBERS["released-2022-10"])

    @classmethod
    def consistent_keys(cls, *, layer: int | None = None) -> ROME:
        """The October settings with the average key on both sides: what later work calls r-ROME.

        Args:
            layer: another layer than the stored one.
        """
        return cls(layer=layer, **NUMBERS["consistent-keys"])

    @classmethod
    def both_keys(cls, *, layer: int | None = None) -> ROME:
        """The paper's settings with v* inserted at two keys, k* and the prompt's own; ours, and in no paper.

        The average key of a short subject that opens its prompt can be far from the key that it has there (a cosine
        of 0.7), so that ``Ŵ k* = v*`` says little about the prompt.

        Args:
            layer: another layer than the stored one.
        """
        return cls(layer=layer, **NUMBERS["both-keys"])

    @property
    def label(self) -> str:
        """``ROME``, and in parentheses the name of a profile with these settings that is not the paper's."""
        own = replace(self, layer=None, statistics=None)
        named = (name for name, numbers in NUMBERS.items() if own == type(self)(**numbers))
        name = next(named, "paper")
        return "ROME" if name == "paper" else f"ROME ({name})"

    @property
    def settings(self) -> dict[str, Any]:
        """The fields as JSON; of statistics the number of tokens and the SHA-256, or the name of the file."""
        return {
            **fields_as_json(replace(self, statistics=None)),
            "statistics": KeyStatistics.described(self.statistics),
        }

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Self:
        """The editor with these settings; the statistics themselves are not in them and come from the model's folder.

        Raises:
            InputError: fields that this version does not have.
        """
        own = dict(settings)
        if isinstance(own.get("statistics"), Mapping):
            del own["statistics"]
        if isinstance(own.get("prefixes"), Mapping):
            own["prefixes"] = PrefixPlan(**own["prefixes"])
        return super().from_settings(own)

    def prepared(self, lm: LanguageModel) -> ROME:
        """The same editor with its layer, and with the statistics of that layer, read and factorised.

        Raises:
            InputError: no layer is known for this model, it has no such layer, or no statistics of it.
            BaseMismatchError: a file of statistics of another model or layer.
            SingularError: statistics of less than full rank.
        """
        layer = self._layer(lm)
        return replace(self, layer=layer, statistics=KeyStatistics.of(self.statistics, lm, layer))

    def edit(
        self,
        lm: LanguageModel,
        facts: Sequence[Fact],
        *,
        generator: torch.Generator | None = None,
        seed: int | None = None,
    ) -> Edit:
        """Compute the edit; the model is not changed.

        The result depends on the arguments alone, not on what ran before in the process.

        Args:
            lm: the model to edit.
            facts: exactly one fact.
            generator: draws the prefixes; may be left out if they are given.
            seed: of a new generator, in place of ``generator``.

        Raises:
            InputError: not one fact, an unknown layer, no statistics, neither generator, seed nor prefixes, or a
                subject or target that cannot be placed in the prompt.
            NumericalError: NaN anywhere, or a search for v* that diverges.
            SingularError: statistics of less than full rank.
        """
        fact, draw = _only(facts), generator_from(generator, seed)
        return self.prepared(lm)._edit(lm, fact, draw)

    def _edit(self, lm: LanguageModel, fact: Fact, generator: torch.Generator | None) -> Edit:
        assert isinstance(self.layer, int)
        assert isinstance(self.statistics, FactorisedMoment)
        layer, factor = self.layer, self.statistics
        locate(lm, fact.prompt, fact.subject)
        texts, separator, seed = self._texts(lm, generator)
        value = optimise_value(lm, layer, fact, self, prefixes=texts, separator=separator)
        key, own = self._keys(lm, fact, texts, separator)
        also, constraint = (own, None) if self.constraint_key == "both" else (None, own)
        projection = lm.projection(layer)
        bias = 0.0 if projection.bias is None else projection.bias.detach().double()
        inserted = value.vector - bias
        weight = projection.weight.detach()
        update = insert(
            weight, key, inserted, factor, also=also, constraint=constraint, bound=self.max_update
        )
        return Edit.computed(
            lm,
            {projection.address: update},
            provenance=Provenance.of(self, lm, [fact], seed=seed, prefixes=texts),
            diagnostics=diagnose(projection, update, key, also, constraint, inserted, factor, value),
        )

    def _layer(self, lm: LanguageModel) -> int:
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
        self, lm: LanguageModel, fact: Fact, prefixes: tuple[str, ...], separator: str
    ) -> tuple[Tensor, Tensor | None]:
        """k*, and the bare prompt's key where the value belongs to that one, or to that one as well."""
        assert self.layer is not None
        template = BARE if self.key_text == "subject" else fact.prompt
        key = subject_key(lm, self.layer, fact.subject, prefixes, template=template, separator=separator)
        if self.constraint_key == "average":
            return key, None
        return key, subject_key(lm, self.layer, fact.subject, [""], template=fact.prompt)

    def _texts(
        self, lm: LanguageModel, generator: torch.Generator | None
    ) -> tuple[tuple[str, ...], str, int | None]:
        """The texts x_j, the separator after each, and the seed if they were drawn."""
        if isinstance(self.prefixes, tuple):
            return self.prefixes, " ", None
        if generator is None:
            raise InputError(
                "ROME draws prefixes for k*: give seed=0 or another number, a generator, or prefixes="
            )
        texts = self.prefixes.sample(lm, generator)
        return texts, self.prefixes.separator, generator.initial_seed()


def _only(facts: Sequence[Fact]) -> Fact:
    if isinstance(facts, Fact) or len(facts) != 1:
        if isinstance(facts, Fact) or not facts:
            found, advice = (
                ("a bare Fact" if isinstance(facts, Fact) else "0 facts"),
                "pass a list with one fact",
            )
        else:
            found = f"{len(facts)} facts"
            advice = "use FineTuning, whose edit takes several, or join one edit per fact with Edit.combined(edits)"
        raise InputError(f"ROME inserts one fact at a time, {found} given: {advice}")
    return facts[0]
