"""Sections 4 and 5: ROME inserts a fact that is recalled, generalises, and leaves other subjects alone.

Each record is edited once, and everything that a claim or a control needs is scored on it; the claims
then only read the scores.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from claims.models import OpenModel, draw_records
from claims.registry import Claim, Expectation, Measured, Progress, Section
from claims.settings import Settings
from knowedit.editing import Edit, PrefixPlan, subject_key
from knowedit.evaluation import Record, RecordScores, score_record
from knowedit.evaluation.runs.seeds import record_generator
from knowedit.intervals import Interval
from knowedit.linalg import LowRank, insert_key_value
from knowedit.models import LanguageModel, fingerprint

AVERAGE_SUBJECTS = 100
AVERAGE_PREFIXES = PrefixPlan(((10, 5),))


@dataclass(frozen=True, eq=False)
class Outcome:
    """The scores of one record.

    Attributes:
        before: of the model as it is.
        edited: with the fact inserted.
        elsewhere: with the same value inserted at the key of another record's subject.
        everyone: with the same value inserted at the average subject's key, and the identity in place of C: along
            what all subjects share rather than what distinguishes this one.
    """

    before: RecordScores
    edited: RecordScores
    elsewhere: RecordScores
    everyone: RecordScores


@dataclass(frozen=True, eq=False)
class Evidence:
    """The outcomes on one model, and the seed of the resamples."""

    outcomes: Sequence[Outcome]
    seed: int

    def read(self, of: Callable[[Outcome], RecordScores], column: str) -> list[float]:
        """A column of Table 2, one share for each record."""
        return [of(outcome).value(column) for outcome in self.outcomes]

    def rng(self) -> np.random.Generator:
        return np.random.default_rng(self.seed)


def gather(model: OpenModel, settings: Settings, progress: Progress) -> Evidence:
    """Edit every record, score it, revert.

    Raises:
        Missing: no records.
        RuntimeError: the model is not bit for bit what it was.
    """
    records = draw_records(model, settings)
    before = fingerprint(model.lm)
    outcomes = []
    for done, outcome in enumerate(_outcomes(model, records, settings.seed), start=1):
        outcomes.append(outcome)
        progress(done, len(records))
    if different := before.differences(fingerprint(model.lm, with_edits=True)):
        raise RuntimeError(f"after reverting, {different[0]} is not what it was: Edit.applied is broken")
    return Evidence(outcomes, settings.seed)


def _outcomes(model: OpenModel, records: Sequence[Record], seed: int) -> Iterator[Outcome]:
    average = _average_key(model, records, seed)
    for i, record in enumerate(records):
        generator = record_generator(seed, record.case_id)
        edit = model.rome.edit(model.lm, [record.fact], generator=generator)
        other = _other_subject(records, i)
        yield Outcome(
            before=score_record(model.lm, record),
            edited=_scored(model.lm, edit, record),
            elsewhere=_scored(model.lm, inserted_at(model, edit, _key(model, edit, other)), record),
            everyone=_scored(model.lm, without_statistics(model, edit, average), record),
        )


def _other_subject(records: Sequence[Record], i: int) -> str:
    own = records[i].fact.subject
    others = (r.fact.subject for r in (*records[i + 1 :], *records[:i]) if r.fact.subject != own)
    found = next(others, None)
    if found is None:
        raise ValueError("all records have one subject, the control needs another: take more facts")
    return found


def inserted_at(model: OpenModel, edit: Edit, key: Tensor) -> Edit:
    """The edit with its value inserted at another key."""
    weight, _, value = _insertion(model, edit)
    update = insert_key_value(weight, key, value, model.moment)
    return replace(edit, updates=dict.fromkeys(edit.updates, update))


def without_statistics(model: OpenModel, edit: Edit, key: Tensor) -> Edit:
    """The edit with its value inserted at another key, and the identity in place of C."""
    weight, _, value = _insertion(model, edit)
    identity = torch.eye(len(key), dtype=key.dtype, device=key.device)
    update = insert_key_value(weight, key, value, identity)
    return replace(edit, updates=dict.fromkeys(edit.updates, update))


def _average_key(model: OpenModel, records: Sequence[Record], seed: int) -> Tensor:
    """The mean key of some of the records' subjects, each behind the same few prefixes."""
    generator = record_generator(seed, -1)
    prefixes = AVERAGE_PREFIXES.sample(model.lm, generator)
    subjects = [record.fact.subject for record in records[:AVERAGE_SUBJECTS]]
    return torch.stack([subject_key(model.lm, model.layer, name, prefixes) for name in subjects]).mean(0)


def _insertion(model: OpenModel, edit: Edit) -> tuple[Tensor, Tensor, Tensor]:
    """W, k* and v* − b; the value is read back from the update: it is what the edited matrix returns for k*."""
    ((address, update),) = edit.updates.items()
    assert isinstance(update, LowRank)
    (fact,) = edit.provenance.facts
    weight = model.lm.projection(address.layer, address.part).weight.detach().double()
    key = _key(model, edit, fact.subject)
    return weight, key, weight @ key + update.left @ (update.right.T @ key)


def _key(model: OpenModel, edit: Edit, subject: str) -> Tensor:
    return subject_key(model.lm, model.layer, subject, edit.provenance.prefixes)


def _scored(lm: LanguageModel, edit: Edit, record: Record) -> RecordScores:
    with edit.applied(lm, check="edited"):
        return score_record(lm, record)


def efficacy(evidence: Evidence) -> Measured:
    def share(of: Callable[[Outcome], RecordScores]) -> Interval:
        successes = evidence.read(of, "ES")
        return Interval.wilson(int(sum(successes)), len(successes)).scaled(100)

    return Measured(share(_edited), share(_elsewhere), f"{share(_before).mean:.1f} % before the edit")


def confidence(evidence: Evidence) -> Measured:
    def mean(of: Callable[[Outcome], RecordScores]) -> Interval:
        values = [float(of(outcome).prompt.new[0]) for outcome in evidence.outcomes]
        return Interval.bootstrap(values, evidence.rng())

    return Measured(mean(_edited), mean(_elsewhere), f"{mean(_before).mean:.3f} before the edit")


def generalisation(evidence: Evidence) -> Measured:
    def mean(of: Callable[[Outcome], RecordScores]) -> Interval:
        return Interval.bootstrap(evidence.read(of, "PS"), evidence.rng()).scaled(100)

    return Measured(mean(_edited), mean(_elsewhere), f"{mean(_before).mean:.1f} % before the edit")


def specificity(evidence: Evidence) -> Measured:
    before = evidence.read(_before, "NS")

    def change(of: Callable[[Outcome], RecordScores]) -> Interval:
        return Interval.bootstrap(evidence.read(of, "NS"), evidence.rng(), minus=before).scaled(100)

    return Measured(change(_edited), change(_everyone), f"{100 * np.mean(before):.1f} % before the edit")


def _before(outcome: Outcome) -> RecordScores:
    return outcome.before


def _edited(outcome: Outcome) -> RecordScores:
    return outcome.edited


def _elsewhere(outcome: Outcome) -> RecordScores:
    return outcome.elsewhere


def _everyone(outcome: Outcome) -> RecordScores:
    return outcome.everyone


ELSEWHERE = "the same value inserted at another subject's key"

CLAIMS = (
    Claim(
        id="rome.efficacy",
        place="Table 2, ES",
        statement="After the edit the new object is more probable than the old one.",
        quantity="share of requests with P[o*] > P[o_c]",
        unit="%",
        paper="99.9 (GPT-2 XL), 99.6 (GPT-J)",
        expectation=Expectation("at least", 95.0),
        control=ELSEWHERE,
        measure=efficacy,
    ),
    Claim(
        id="rome.confident",
        place="ours (Table 2, EM)",
        statement="After the edit the model predicts the new object, and does not merely prefer it to the old one.",
        quantity="mean P[o*] after the request",
        unit="",
        paper="not given (EM: 94.4, 95.9 points)",
        expectation=Expectation("at least", 0.9),
        control=ELSEWHERE,
        measure=confidence,
        digits=".3f",
    ),
    Claim(
        id="rome.generalises",
        place="Table 2, PS",
        statement="The new object is also more probable after paraphrases that the edit never saw.",
        quantity="share of paraphrases with P[o*] > P[o_c]",
        unit="%",
        paper="88.6 (GPT-2 XL), 93.6 (GPT-J)",
        expectation=Expectation("at least", 85.0),
        control=ELSEWHERE,
        measure=generalisation,
    ),
    Claim(
        id="rome.specific",
        place="Table 2, NS",
        statement="Other subjects of which the old object is true keep it.",
        quantity="change of the share of neighborhood prompts with P[o_c] > P[o*]",
        unit="points",
        paper="−4.0 (GPT-2 XL), −3.6 (GPT-J)",
        expectation=Expectation("at least", -6.0),
        control="the same value at the average subject's key, with the identity in place of C",
        measure=specificity,
    ),
)

SECTION = Section(
    name="rome",
    title="Sections 4 and 5: one fact edited by ROME",
    about="Test records drawn by the seed, each edited alone with `ROME.paper()`, scored, and reverted; that the model "
    "was bit for bit the same at the end was checked. Intervals: Wilson for efficacy, percentile "
    "bootstrap over records for the others, paired for the change.",
    claims=CLAIMS,
    on_model=gather,
)
