"""What the edits on a model add up to, and what is left of them: no single edit shows that a stack wears it down."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from html import escape
from itertools import islice
from typing import Any, Final, NamedTuple, TypeAlias

import torch
from torch import Tensor

from knowedit.bundled import KNOWN_FACTS
from knowedit.editing.edits.content import Content
from knowedit.editing.edits.contradictions import contradictions
from knowedit.editing.edits.outcome import Prediction, predictions
from knowedit.editing.edits.updates import Address, Update, Updates, path_of
from knowedit.editing.statistics.second_moments import second_moment
from knowedit.errors import InputError
from knowedit.facts import Fact
from knowedit.linalg import FactorisedMoment, SecondMoment
from knowedit.models import LanguageModel
from knowedit.models.overlays import overlays_on, own_tensor
from knowedit.reading import read_json

MOST_ON_TEXT: Final = 0.5
"""A stack that changes more of a layer's output on ordinary text than this is warned of."""
PROBES: Final = 40
MOST_LOST: Final = 0.05
"""The share of facts, untouched or inserted, of which the loss is warned of."""


Moments: TypeAlias = Mapping[int, SecondMoment | FactorisedMoment]
"""Key statistics by layer."""


class Added(NamedTuple):
    """What a stack adds to one tensor.

    Attributes:
        address: where, as text.
        relative: ‖ΣΔW‖ / ‖W‖, Frobenius.
        on_text: ‖ΣΔW K‖ / ‖W K‖ over the text of the key statistics; the sum of the single edits' figures, an upper
            bound, where there are no statistics; None where that is not known either.
        exact: whether it was computed with key statistics.
    """

    address: str
    relative: float
    on_text: float | None
    exact: bool


@dataclass(frozen=True)
class StackReport:
    """What the edits that are applied to a model add up to.

    Attributes:
        edits: their digests, the first applied first.
        added: what they add to each tensor.
        facts: those that the edits were made for; of a prompt that several give an object, the last one.
        predictions: what the model predicts for each of them now.
        took: for each, whether the edit took when it was made; None where that was not measured.
        probes: facts that no edit touches, each with the object that the unedited model predicts.
        kept: for each, whether the model still predicts it.
        contradictions: see `contradictions`.
    """

    edits: tuple[str, ...]
    added: tuple[Added, ...]
    facts: tuple[Fact, ...]
    predictions: tuple[Prediction, ...]
    took: tuple[bool | None, ...]
    probes: tuple[Fact, ...]
    kept: tuple[bool, ...]
    contradictions: tuple[str, ...]

    @property
    def lost(self) -> list[Fact]:
        """The facts that were predicted when their edit was made, or may have been, and are not any more."""
        rows = zip(self.facts, self.predictions, self.took, strict=True)
        return [fact for fact, now, took in rows if took is not False and not now.is_new]

    def warnings(self) -> list[str]:
        """What a careful person would look into before adding more; empty if nothing."""
        over = [one for one in self.added if (one.on_text or 0.0) > MOST_ON_TEXT]
        changed = [
            f"on ordinary text the edits together change the output of {one.address} by "
            f"{'' if one.exact else 'up to '}{one.on_text:.0%}"
            for one in over
        ]
        kept, lost = sum(self.kept), self.lost
        forgotten = f"{len(lost)} of the {len(self.facts)} facts of the edits are not predicted any more"
        named = f"{forgotten}, {lost[0].text!r} … {lost[0].target_new!r} for one" if lost else ""
        worn = f"of {len(self.probes)} facts that no edit is about, the model predicts {kept}"
        found = [
            *([named] if len(lost) > MOST_LOST * len(self.facts) else []),
            *([worn] if len(self.kept) - kept > MOST_LOST * len(self.kept) else []),
            *changed,
        ]
        advice = "the stack wears the model down: use fewer edits, or edit the layers that have fewest"
        return [*self.contradictions, *found, *([advice] if found else [])]

    def as_json(self) -> dict[str, Any]:
        """Everything, as JSON."""
        rows = zip(self.facts, self.predictions, self.took, strict=True)
        return {
            "edits": list(self.edits),
            "added": [one._asdict() for one in self.added],
            "facts": [{**asdict(fact), **asdict(now), "took": took} for fact, now, took in rows],
            "probes": {"count": len(self.probes), "predicted": sum(self.kept)},
            "warnings": self.warnings(),
        }

    def lines(self) -> list[str]:
        """A line for each figure."""
        now = sum(one.is_new for one in self.predictions)
        probes = [f"{sum(self.kept)} of {len(self.probes)} other facts are predicted"] if self.probes else []
        return [
            *map(_shown, self.added),
            f"{now} of {len(self.facts)} facts of the edits are predicted",
            *probes,
        ]

    def __repr__(self) -> str:
        return f"StackReport({len(self.edits)} edits; {'; '.join(self.lines())}; {len(self.warnings())} warnings)"

    def _repr_html_(self) -> str:
        rows = [("edits", str(len(self.edits))), *(("", line) for line in self.lines())]
        rows += [("warning", text) for text in self.warnings()]
        cells = "".join(f"<tr><th>{escape(name)}</th><td>{escape(text)}</td></tr>" for name, text in rows)
        return f"<table>{cells}</table>"


def stack_report(
    lm: LanguageModel,
    *,
    probes: Sequence[Fact] | None = None,
    statistics: Moments | None = None,
) -> StackReport:
    """Measure the edits that are applied to a model, all together; nothing is drawn or changed.

    Args:
        lm: the model, with the edits applied.
        probes: facts that no edit is about and the unedited model predicts: their ``target_new`` is that object. By
            default the first 40 of those that come with a bundled model.
        statistics: the second moments of ``mlp_down``'s keys, by layer, for those that the model's folder lacks.

    Raises:
        InputError: no edit is applied, or a fact whose object cannot follow its prompt.
        NumericalError: logits that are not finite.
    """
    edits: list[Content] = [overlay.source for overlay in overlays_on(lm.model)]
    if not edits:
        raise InputError(
            f"no edit is applied to {lm.name}: call stack_report(lm) while the edits are applied"
        )
    facts = _last(edits)
    asked = tuple(_known(lm, edits) if probes is None else probes)
    return StackReport(
        edits=tuple(edit.digest for edit in edits),
        added=_added(lm, edits, statistics or {}),
        facts=tuple(fact for fact, _ in facts),
        predictions=predictions(lm, [fact for fact, _ in facts]),
        took=tuple(took for _, took in facts),
        probes=asked,
        kept=tuple(one.is_new for one in predictions(lm, asked)),
        contradictions=tuple(contradictions(edits)),
    )


def _last(edits: Sequence[Content]) -> list[tuple[Fact, bool | None]]:
    """The last fact of each prompt, and whether its edit took."""
    found: dict[str, tuple[Fact, bool | None]] = {}
    for edit in edits:
        facts = edit.provenance.facts
        after = [None] * len(facts) if edit.outcome is None else [one.is_new for one in edit.outcome.after]
        found.update((" ".join(pair[0].text.split()), pair) for pair in zip(facts, after, strict=True))
    return list(found.values())


def _known(lm: LanguageModel, edits: Sequence[Content]) -> list[Fact]:
    """Facts that come with the model and are about no subject of an edit."""
    file = None if lm.folder is None else lm.folder / KNOWN_FACTS
    if file is None or not file.is_file():
        return []
    touched = {fact.subject for edit in edits for fact in edit.provenance.facts}
    rows = read_json(file, "install the package again")
    facts = (Fact(row["subject"], row["prompt"], row["target_true"]) for row in rows)
    return list(islice((fact for fact in facts if fact.subject not in touched), PROBES))


def _added(lm: LanguageModel, edits: Sequence[Content], statistics: Moments) -> tuple[Added, ...]:
    total = Updates({})
    for edit in edits:
        total = total.plus(Updates(edit.updates))
    return tuple(
        _one(lm, address, update, edits, statistics)
        for address, update in ((one, total[one]) for one in total)
    )


def _one(
    lm: LanguageModel,
    address: Address,
    update: Update,
    edits: Sequence[Content],
    statistics: Moments,
) -> Added:
    own = own_tensor(lm.model, lm.model.get_parameter(path_of(lm, address))).detach().cpu().double()
    change, relative = update.materialise(torch.float64).cpu(), update.frobenius_norm() / float(own.norm())
    moment = _moment(lm, address, statistics)
    if moment is None:
        return Added(str(address), relative, _bound(address, edits), exact=False)
    weight = own.T if lm.projection(address.layer, address.part).transposed else own
    return Added(str(address), relative, _on_text(change, moment) / _on_text(weight, moment), exact=True)


def _moment(lm: LanguageModel, address: Address, statistics: Moments) -> Tensor | None:
    """C of a weight, where it is known without gathering it."""
    if address[1:] != ("mlp_down", "weight"):
        return None
    try:
        found = statistics[address.layer] if address.layer in statistics else second_moment(lm, address.layer)
    except InputError:  # with edits applied none is gathered
        return None
    return torch.as_tensor(found.matrix).cpu().double()


def _bound(address: Address, edits: Sequence[Content]) -> float | None:
    figures = [edit.diagnostics.change_on_text for edit in edits if address in edit.updates]
    return None if None in figures else math.fsum(figure for figure in figures if figure is not None)


def _on_text(matrix: Tensor, moment: Tensor) -> float:
    """√tr(A C Aᵀ): the root mean square of ‖A k‖ over the keys behind C."""
    return float(((matrix @ moment) * matrix).sum().clamp(min=0).sqrt())


def _shown(one: Added) -> str:
    known = (
        "" if one.on_text is None else f", on ordinary text {'' if one.exact else 'up to '}{one.on_text:.1%}"
    )
    return f"{one.address}: changed by {one.relative:.1%} (Frobenius){known}"
