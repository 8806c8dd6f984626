"""Which scores an evaluation takes of each record, and their form in a line of its file."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, Protocol

import torch

from knowedit.evaluation.records.record import Record
from knowedit.evaluation.scores.measures import Measures, TextMeasures
from knowedit.evaluation.scores.record_scores import score_record
from knowedit.models import LanguageModel


class Scorer(Protocol):
    """Scores a model as it is now on a record; it can be pickled."""

    @property
    def identity(self) -> Any:
        """Everything that its scores depend on, as JSON."""
        ...

    def score(self, lm: LanguageModel, record: Record, generator: torch.Generator, /) -> dict[str, Any]:
        """The scores as JSON."""
        ...


@dataclass(frozen=True)
class Table2Scores:
    """The columns of Table 2 that the measures ask for, in the JSON of `RecordScores`.

    Attributes:
        measures: by default joint probabilities, and no text is generated.
        keep_texts: whether the generated texts are kept, about half of a line; the columns do not need them.
    """

    measures: Measures = field(default_factory=Measures)
    keep_texts: bool = True

    @property
    def identity(self) -> dict[str, Any]:
        """The measures; the TF-IDF model by its digest."""
        texts = self.measures.texts
        return {
            "probability": self.measures.probability,
            "texts": None if texts is None else _texts_identity(texts) | {"kept": self.keep_texts},
        }

    def score(self, lm: LanguageModel, record: Record, generator: torch.Generator, /) -> dict[str, Any]:
        """Everything the columns are computed from."""
        found = score_record(lm, record, self.measures, generator=generator)
        return found.to_json(generated=self.keep_texts)


def _texts_identity(texts: TextMeasures) -> dict[str, Any]:
    plain = {item.name: getattr(texts, item.name) for item in fields(texts) if item.name != "tfidf"}
    return plain | {"tfidf": texts.tfidf.digest}
