"""One record at a time: edit, apply, score, remove the edit; and what all of that depends on."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any, Final

import torch

from knowedit.editing.editor import label_of, prepared, settings_of, version_of
from knowedit.editing.edits.outcome import without_outcome
from knowedit.errors import NumericalError
from knowedit.evaluation.records.record import Record
from knowedit.evaluation.runs.run import Outcome
from knowedit.evaluation.runs.seeds import record_generator
from knowedit.evaluation.scores.scorer import Scorer
from knowedit.models import Fingerprint, LanguageModel, fingerprint, load
from knowedit.runs import canonical

PACKAGES: Final = ("knowedit", "torch", "transformers", "tokenizers", "numpy", "scipy", "scikit-learn")
UNEDITED: Final = "none"
"""What a table calls the model as it is."""


def editor_identity(editor: Any) -> dict[str, Any]:
    """An editor's label, and its settings with its version, as JSON; of None, no edit.

    Args:
        editor: any object with ``edit``, prepared or not.
    """
    if editor is None:
        return {"method": UNEDITED, "settings": {}}
    return {
        "method": label_of(editor),
        "settings": settings_of(editor) | {"version": version_of(editor)},
    }


@dataclass(frozen=True)
class EvaluationJob:
    """Edit each record's fact alone, score, and remove the edit again; a job of `knowedit.runs`.

    Attributes:
        model: a name, folder, GGUF file or Hub id; or an open model, which cannot be sent to other processes.
        editor: any object with ``edit``; None scores the model as it is.
        seed: with a record's case id it decides what is drawn for that record.
        scorer: any object with `Scorer.identity` and `Scorer.score`, and `Scorer.before` if it needs that.
        device: where the model is put.
        dtype: its number format, by default that of its file.
    """

    model: str | LanguageModel
    editor: Any = None
    seed: int = 0
    scorer: Any = field(default_factory=Scorer)
    device: str = "cpu"
    dtype: str | None = None

    @property
    def model_name(self) -> str:
        """What the model is called."""
        return self.model if isinstance(self.model, str) else self.model.name

    def open(self) -> EvaluationStation:
        """Load the model and prepare the editor.

        Raises:
            InputError: the model or something that the editor needs is not there.
        """
        return EvaluationStation.of(self, self.load())

    def load(self) -> LanguageModel:
        """The model, opened unless it is open.

        Raises:
            InputError: it is not there.
        """
        if isinstance(self.model, LanguageModel):
            return self.model
        return load(self.model, device=self.device, dtype=self.dtype)


@dataclass(frozen=True, eq=False)
class EvaluationStation:
    """The station of an `EvaluationJob`.

    Attributes:
        lm: the model.
        editor: prepared for the model; None for no edit.
        job: what is measured.
        base: of the model as it was when the station was opened.
    """

    lm: LanguageModel
    editor: Any
    job: EvaluationJob
    base: Fingerprint

    @classmethod
    def of(cls, job: EvaluationJob, lm: LanguageModel, base: Fingerprint | None = None) -> EvaluationStation:
        """A station with a model that is already open.

        Args:
            job: its own ``model`` is not used.
            lm: the model.
            base: the model's fingerprint, if it is known.

        Raises:
            InputError: the model lacks something that the editor needs.
        """
        editor = None if job.editor is None else prepared(job.editor, lm)
        return cls(lm, editor, job, base or fingerprint(lm, with_edits=True))

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that the scores depend on besides the records; as JSON."""
        return {
            "model": self.base.digest,
            "dtype": str(self.lm.dtype).removeprefix("torch."),
            "device": self.lm.device.type,
            **editor_identity(self.editor),
            "seed": self.job.seed,
            "scores": self.job.scorer.identity,
            "versions": {name: version(name) for name in PACKAGES},
        }

    def measure(
        self, block: Sequence[Record], _tell: Callable[[Any], None] | None = None, /
    ) -> tuple[Outcome, ...]:
        """Edit, apply, score and revert each record; what is a record's fault is in its outcome and not raised.

        Raises:
            MemoryError: and torch's own of this kind: no fault of the record.
        """
        return tuple(self._outcome(record) for record in block)

    def _outcome(self, record: Record) -> Outcome:
        start = time.perf_counter()
        try:
            scores, error = self._scores(record), None
        except (MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as problem:  # whatever it is, the other records can be measured
            scores, error = None, f"{type(problem).__name__}: {' '.join(str(problem).split())}"
        return Outcome(record.case_id, scores, error, round(time.perf_counter() - start, 4))

    def _scores(self, record: Record) -> dict[str, Any]:
        before = self._before(record)
        if self.editor is None:
            return self._scored(record, before)
        generator = record_generator(self.job.seed, record.case_id)
        with without_outcome():  # what the edited model predicts is among the scores
            edit = self.editor.edit(self.lm, [record.fact], generator=generator)
        with edit.applied(self.lm, check="edited"):
            return self._scored(record, before)

    def _before(self, record: Record) -> Any:
        """What the scorer asks of the unedited model; None where that is nothing."""
        ask = getattr(self.job.scorer, "before", None)
        return None if ask is None else ask(self.lm, record)

    def _scored(self, record: Record, before: Any) -> dict[str, Any]:
        generator = record_generator(self.job.seed, record.case_id, "texts")
        known = () if before is None else (before,)
        found: dict[str, Any] = self.job.scorer.score(self.lm, record, generator, *known)
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
                f"after the last edit was removed, {different[0]} is not what it was: do not trust the scores "
                "of this run; remove its folder and report this"
            )


def blocks_of(records: Sequence[Record], size: int) -> list[tuple[Record, ...]]:
    """The records in the order of their case ids, which is that of their file, cut into blocks."""
    ordered = sorted(records, key=lambda record: record.case_id)
    return [tuple(ordered[at : at + size]) for at in range(0, len(ordered), size)]
