"""Which run folders are evidence about a model, and the jobs that make them."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Final

from claims.models import Missing, model_name
from knowedit.editing import EDITORS
from knowedit.evaluation import EvaluationJob, Record, Run, Scorer, TextScorer, iter_records, read_run
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

    def folder(self, method: str) -> Path:
        """The run's."""
        name = model_name(self.model).replace("/", "--")
        return (self.evidence or EVIDENCE) / name / method

    def job(self, method: str, scorer: Scorer) -> EvaluationJob:
        """What the run measures: the known settings of the method."""
        given = {"statistics": self.statistics} if method == "rome" and self.statistics else {}
        editor = chosen_editor(method, {**self.options, **given})
        return EvaluationJob(self.model, editor, scorer=scorer, device=self.device)

    def scorer(self) -> Scorer:
        """All columns of Table 2; the generated texts are not kept."""
        return Scorer(texts=TextScorer(reference_tfidf(self.file), kept=False))

    def first_records(self, limit: int = RECORDS) -> list[Record]:
        """The first records of the file."""
        return list(islice(iter_records(self.file), limit))

    @property
    def file(self) -> Path:
        """The file of records.

        Raises:
            InputError: none was given, and the model has none.
        """
        found = records_of(self.model, self.records)
        assert isinstance(found, Path)
        return found

    def command(self, method: str) -> str:
        """What makes the run."""
        options = {"--records-file": self.records, "--statistics": self.statistics, "--out": self.evidence}
        given = "".join(f" {name} {path}" for name, path in options.items() if path is not None)
        return f"python -m claims.make_evidence --model {self.model} --method {method}{given}"


def read_whole(folder: Path, command: str) -> Run:
    """The run of a folder, with every record.

    Args:
        folder: the run's.
        command: what makes it.

    Raises:
        Missing: it is not there, or not finished.
        FileFormatError: the manifest or a line is not as it was written.
        InputError: the run was condemned.
    """
    if not (folder / MANIFEST).is_file():
        raise Missing(f"no evidence in {folder.parent.name}/{folder.name}: make it with {command}")
    run = read_run(folder, whole=True)
    if run.missing:
        raise Missing(
            f"{run.missing} of {run.identity['records']['count']} records of {folder.parent.name}/{folder.name} "
            f"are not measured: resume with {command}"
        )
    return run
