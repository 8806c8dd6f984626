"""Which scores are taken of each record, as one value; and the function that takes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

import torch

from knowedit.errors import InputError
from knowedit.evaluation.records.record import Record
from knowedit.evaluation.scores.answers import AnswerScores, Ids
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

    def before(self, lm: LanguageModel, record: Record) -> tuple[Ids, ...] | None:
        """What has to be asked of the unedited model, to be given to `score`; None where that is nothing."""
        return AnswerScores.predictions(lm, record)

    def score(
        self,
        lm: LanguageModel,
        record: Record,
        generator: torch.Generator | None,
        before: Sequence[Ids] | None = None,
    ) -> dict[str, Any]:
        """The scores as JSON, for a line of a run's file; see `score_record`."""
        return score_record(lm, record, self, generator=generator, before=before).to_json()


def score_record(
    lm: LanguageModel,
    record: Record,
    scorer: Scorer | None = None,
    *,
    generator: torch.Generator | None = None,
    before: Sequence[Ids] | None = None,
) -> RecordScores:
    """Score the model as it is now: call it inside and outside `Edit.applied` and compare.

    Args:
        lm: the model.
        record: what to ask; a field that is None or empty leaves its columns NOT MEASURED.
        scorer: by default joint probabilities and no text.
        generator: draws the generated text; needed unless that is greedy.
        before: what `Scorer.before` found in the unedited model. Without it Loc is NOT MEASURED.

    Raises:
        InputError: no generator for text that is to be drawn, or an object that does not follow a prompt.
    """
    asked = scorer or Scorer()
    found = _measured(lm, record, asked.probability)
    return RecordScores(
        found.get("prompt", Pair.none()),
        found.get("paraphrases"),
        found.get("neighborhood"),
        texts=None if asked.texts is None else asked.texts.score(lm, record, generator),
        probability=asked.probability,
        case_id=record.case_id,
        answers=AnswerScores.measure(lm, record, before),
    )


def _measured(lm: LanguageModel, record: Record, probability: Probability) -> dict[str, Pair]:
    """The probabilities after each group of prompts; none where there is no true object to compare with."""
    groups, fact = _prompt_groups(record), record.fact
    if fact.target_true is None:
        return {}
    # One batch for all prompts and both objects: the model runs once.
    prompts = [prompt for group in groups.values() for prompt in group]
    pair = Pair.measure(lm, prompts, fact.target_new, fact.target_true, probability)
    sizes = [len(group) for group in groups.values()]
    parts = zip(groups, torch.split(pair.new, sizes), torch.split(pair.true, sizes), strict=True)
    return {name: Pair(new, true) for name, new, true in parts}


def _prompt_groups(record: Record) -> dict[str, tuple[str, ...]]:
    given = ((record.fact.text,), record.paraphrase_prompts, record.neighborhood_prompts)
    return {name: group for name, group in zip(GROUPS, given, strict=True) if group}
