"""One record at a time: edit, apply, score, take the edit out; and what all of that depends on."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any, Final, Protocol, TypeAlias

import torch

from knowedit.errors import NumericalError
from knowedit.evaluation.records.record import Record
from knowedit.evaluation.runs.code_digest import code_digest
from knowedit.evaluation.runs.folder import Outcome
from knowedit.evaluation.runs.methods import MakeEdit, Method
from knowedit.evaluation.runs.seeds import record_generator
from knowedit.evaluation.scores.scorer import Scorer
from knowedit.models import Fingerprint, LanguageModel, fingerprint, load
from knowedit.runs import canonical

PACKAGES: Final = ("knowedit", "torch", "transformers", "tokenizers", "numpy", "scipy", "scikit-learn")

Identity: TypeAlias = Mapping[str, Any]


class Station(Protocol):
    """Measures records, in the process where it was opened."""

    @property
    def identity(self) -> Identity:
        """Everything that the scores depend on besides the records; as JSON."""
        ...

    def measure(self, record: Record) -> Outcome:
        """What became of a record; what is the record's fault is in the outcome and not raised."""
        ...

    def check(self) -> None:
        """Raise unless the model is bit for bit what it was when the station was opened."""
        ...


class Plan(Protocol):
    """How records are measured. It can be pickled, so that a worker can open a station of its own."""

    def open(self) -> Station:
        """Load the model and prepare the method.

        Raises:
            InputError: the model or something that the method needs is not there.
        """
        ...


@dataclass(frozen=True)
class EditingPlan:
    """Edit each record's fact alone, score, and take the edit out again.

    Attributes:
        model: a bundled name, a folder or a Hub id.
        method: what is done before scoring.
        seed: with a record's case id it decides what is drawn for that record.
        scorer: which scores are taken.
        device: where the model is put.
    """

    model: str
    method: Method
    seed: int = 0
    scorer: Scorer = field(default_factory=Scorer)
    device: str = "cpu"

    def open(self) -> Editing:
        """Load the model and prepare the method; see `Plan`."""
        return self.on(load(self.model, device=self.device))

    def on(self, lm: LanguageModel) -> Editing:
        """A station with a model that is already here."""
        prepared = self.method.prepare(lm)
        base = fingerprint(lm, with_edits=True)
        sources = (__name__, type(self.scorer).__module__, *self.method.sources)
        identity = {
            "model": base.digest,
            "dtype": str(lm.dtype).removeprefix("torch."),
            "device": lm.device.type,
            "method": self.method.label,
            "settings": prepared.settings,
            "seed": self.seed,
            "scores": self.scorer.identity,
            "code": code_digest(sources),
            "versions": {name: version(name) for name in PACKAGES},
        }
        return Editing(lm, prepared.make, self, base, identity)


@dataclass(frozen=True, eq=False)
class Editing:
    """The station of an `EditingPlan`."""

    lm: LanguageModel
    make: MakeEdit
    plan: EditingPlan
    base: Fingerprint
    identity: Identity = field(repr=False)

    def measure(self, record: Record) -> Outcome:
        """Edit, apply, score, revert.

        Raises:
            MemoryError: and torch's own of this kind: no fault of the record.
        """
        start = time.perf_counter()
        try:
            scores, error = self._scores(record), None
        except (MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as problem:  # whatever it is, the other records can be measured
            scores, error = None, f"{type(problem).__name__}: {' '.join(str(problem).split())}"
        return Outcome(record.case_id, scores, error, round(time.perf_counter() - start, 4))

    def _scores(self, record: Record) -> dict[str, Any]:
        edit = self.make(record.fact, record_generator(self.plan.seed, record.case_id))
        if edit is None:
            return self._scored(record)
        with edit.applied(self.lm, check="edited"):
            return self._scored(record)

    def _scored(self, record: Record) -> dict[str, Any]:
        generator = record_generator(self.plan.seed, record.case_id, "texts")
        found = self.plan.scorer.score(self.lm, record, generator)
        canonical(found)  # NaN is an error of this record and not of the file
        return found

    def check(self) -> None:
        """Compare all tensors with those at the start.

        Raises:
            NumericalError: one differs.
        """
        different = self.base.differences(fingerprint(self.lm, with_edits=True))
        if different:
            raise NumericalError(
                f"after the last edit was taken out, {different[0]} is not what it was: do not trust the scores "
                "of this run; remove its folder and report this"
            )
