"""Which scores an evaluation takes of each record, and their form in a line of its file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch

from knowedit.evaluation.records import Record
from knowedit.evaluation.scores import score_record
from knowedit.models import LanguageModel


class Scorer(Protocol):
    """Scores a model as it is now on a record; it can be pickled."""

    @property
    def identity(self) -> Any:
        """Everything that its scores depend on, as JSON."""
        ...

    def score(self, lm: LanguageModel, record: Record, generator: torch.Generator, /) -> dict[str, Any]:
        """The scores as JSON; under ``columns`` those of Table 2, None where one was not measured."""
        ...


@dataclass(frozen=True)
class Probabilities:
    """ES, EM, PS, PM, NS and NM: no text is generated."""

    identity: str = "joint probabilities"

    def score(self, lm: LanguageModel, record: Record, _: torch.Generator) -> dict[str, Any]:
        """One forward for all prompts of the record."""
        return {"columns": score_record(lm, record).columns}
