"""Which scores are taken of each record, as one value; and the function that takes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, get_args

import torch

from knowedit.errors import InputError
from knowedit.evaluation.records.record import Record
from knowedit.evaluation.scores.columns import SCORES_VERSION
from knowedit.evaluation.scores.record_scores import GROUPS, Pair, Probability, RecordScores
from knowedit.evaluation.scores.texts import TextScorer
from knowedit.models import LanguageModel


@dataclass(frozen=True)
class Scorer:
    """What is measured on a record. An evaluation takes any object with `identity` and `score` in its place.

    Attributes:
        probability: what the probabilities of the objects are, see `Pair.measure`.
        texts: how GE, RS and Essence are measured; None to generate no text.
    """

    probability: Probability = "joint"
    texts: TextScorer | None = None

    def __post_init__(self) -> None:
        if self.probability not in get_args(Probability):
            raise InputError(f"the probability is {self.probability!r}: expected joint or per-token")

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that the scores depend on besides model and record, as JSON."""
        texts = None if self.texts is None else self.texts.identity
        return {"version": SCORES_VERSION, "probability": self.probability, "texts": texts}

    def score(self, lm: LanguageModel, record: Record, generator: torch.Generator | None) -> dict[str, Any]:
        """The scores as JSON, for a line of a run's file; see `score_record`."""
        return score_record(lm, record, self, generator=generator).to_json()


def score_record(
    lm: LanguageModel,
    record: Record,
    scorer: Scorer | None = None,
    *,
    generator: torch.Generator | None = None,
) -> RecordScores:
    """Score the model as it is now: call it inside and outside `Edit.applied` and compare.

    Args:
        lm: the model.
        record: what to ask; a field that is None leaves its columns NOT MEASURED.
        scorer: by default joint probabilities and no text.
        generator: draws the generated text; needed unless that is greedy.

    Raises:
        InputError: a record without a true object, or with empty lists of prompts; or no generator for text that is
            to be drawn.
    """
    asked = scorer or Scorer()
    groups = _prompt_groups(record)
    fact = record.fact
    # One batch for all prompts and both objects: the model runs once.
    prompts = [prompt for group in groups.values() for prompt in group]
    pair = Pair.measure(lm, prompts, fact.target_new, str(fact.target_true), asked.probability)
    sizes = [len(group) for group in groups.values()]
    parts = zip(groups, torch.split(pair.new, sizes), torch.split(pair.true, sizes), strict=True)
    found = {name: Pair(new, true) for name, new, true in parts}
    return RecordScores(
        found["prompt"],
        found.get("paraphrases"),
        found.get("neighborhood"),
        texts=None if asked.texts is None else asked.texts.score(lm, record, generator),
        probability=asked.probability,
        case_id=record.case_id,
    )


def _prompt_groups(record: Record) -> dict[str, tuple[str, ...]]:
    given = ((record.fact.text,), record.paraphrase_prompts, record.neighborhood_prompts)
    groups = {name: group for name, group in zip(GROUPS, given, strict=True) if group is not None}
    if record.fact.target_true is None or not all(groups.values()):
        raise InputError(
            f"record {record.case_id} lacks a true object, paraphrases or neighborhood prompts: "
            "these scores need all three; a field that the source does not have is None"
        )
    return groups
