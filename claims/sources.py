"""Where a model's evidence is: the folders of its finished runs, and how each is made and read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Final

from claims.models import Missing, OpenModel, is_bundled, model_name
from claims.settings import Settings
from knowedit.editing import EDITORS
from knowedit.evaluation import (
    TEST_FILE,
    EvaluationJob,
    Record,
    Run,
    Scorer,
    TextScorer,
    evaluate,
    iter_records,
    read_run,
)
from knowedit.evaluation.runs.evaluate import chosen_editor, records_of, reference_tfidf
from knowedit.runs import MANIFEST

EVIDENCE: Final = Path(__file__).with_name("evidence")
METHODS: Final = ("none", *EDITORS)
RECORDS: Final = 200
"""The first records of the model's test file."""


@dataclass(frozen=True)
class Source:
    """Where a model, its records and its evidence are.

    Attributes:
        model: a bundled name, a folder or a Hub id.
        evidence: the folder of the evidence of all models; None for that of this package.
        records: a file of records; None for the model's own.
        statistics: a file of key statistics; None for the model's own.
        device: where the model is put.
        options: more options of every editor; claims refuse runs that have some.
    """

    model: str
    evidence: Path | None = None
    records: Path | None = None
    statistics: Path | None = None
    device: str = "cpu"
    options: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, model: OpenModel, settings: Settings) -> Source:
        """That of a model that claims are measured on; its own records come before those of the settings."""
        where = model.name if is_bundled(model.name) else str(model.lm.folder or model.lm.name)
        own = None if model.lm.folder is None else model.lm.folder / TEST_FILE
        records = None if own is not None and own.is_file() else settings.records
        return cls(where, settings.evidence, records, settings.statistics, settings.device)

    def folder(self, method: str) -> Path:
        """The run's."""
        name = model_name(self.model).replace("/", "--")
        return (self.evidence or EVIDENCE) / name / method

    @property
    def file(self) -> Path:
        """The file of records.

        Raises:
            InputError: none was given, and the model has none.
        """
        found = records_of(self.model, self.records)
        assert isinstance(found, Path)
        return found

    def first_records(self, limit: int = RECORDS) -> list[Record]:
        """The first records of the file."""
        return list(islice(iter_records(self.file), limit))

    def texts(self) -> TextScorer:
        """How text is measured; the generated texts are not written into the run."""
        return TextScorer(reference_tfidf(self.file), kept=False)

    def job(self, method: str, texts: TextScorer) -> EvaluationJob:
        """What the run measures: all columns of Table 2, with the known settings of the method."""
        editor = chosen_editor(method, self._options(method))
        return EvaluationJob(self.model, editor, scorer=Scorer(texts=texts), device=self.device)

    def make(self, method: str, *, limit: int, retry: bool, watch: Callable[[int, int, object], None]) -> Run:
        """Make the run, or resume it, in this process; see `evaluate`."""
        return evaluate(
            self.model,
            method,
            self.file,
            out=self.folder(method),
            limit=limit,
            texts=self.texts(),
            device=self.device,
            retry=retry,
            watch=watch,
            **self._options(method),
        )

    def _options(self, method: str) -> dict[str, Any]:
        given = {"statistics": self.statistics} if method == "rome" and self.statistics else {}
        return {**self.options, **given}

    def command(self, method: str) -> str:
        """What makes the run."""
        options = {"--records-file": self.records, "--statistics": self.statistics, "--out": self.evidence}
        given = "".join(f" {name} {path}" for name, path in options.items() if path is not None)
        return f"python -m claims.make_evidence --model {self.model} --method {method}{given}"

    def read(self, method: str) -> Run:
        """The run, with every record.

        Raises:
            Missing: it is not there, or not finished.
            FileFormatError: the manifest or a line is not as it was written.
            InputError: the run was condemned.
        """
        folder = self.folder(method)
        if not (folder / MANIFEST).is_file():
            raise Missing(
                f"no evidence in {folder.parent.name}/{folder.name}: make it with {self.command(method)}"
            )
        run = read_run(folder, whole=True)
        if run.missing:
            raise Missing(
                f"{run.missing} of {run.identity['records']['count']} records of {folder.parent.name}/{folder.name} "
                f"are not measured: resume with {self.command(method)}"
            )
        return run
