"""Which run folders are evidence about a model, and the requests that make them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from claims.models import model_name
from knowedit.cli.evaluate import METHODS, EvaluateRequest

__all__ = ["EVIDENCE", "METHODS", "RECORDS", "Source"]

EVIDENCE: Final = Path(__file__).with_name("evidence")
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
    """

    model: str
    evidence: Path | None = None
    records: Path | None = None
    statistics: Path | None = None
    device: str = "cpu"

    def folder(self, method: str) -> Path:
        """The run's."""
        name = model_name(self.model).replace("/", "--")
        return (self.evidence or EVIDENCE) / name / method

    def request(self, method: str, limit: int = RECORDS) -> EvaluateRequest:
        """What ``knowedit evaluate --limit ... --drop-texts`` would be asked for, with the known settings."""
        return EvaluateRequest(
            model=self.model,
            method=method,
            out=self.folder(method),
            statistics=self.statistics if method == "rome" else None,
            records=self.records,
            limit=limit,
            keep_texts=False,
            device=self.device,
        )

    def command(self, method: str) -> str:
        """What makes the run."""
        options = {"--records-file": self.records, "--statistics": self.statistics, "--out": self.evidence}
        given = "".join(f" {name} {path}" for name, path in options.items() if path is not None)
        return f"python -m claims.make_evidence --model {self.model} --method {method}{given}"
