"""Efficacy, generalisation and specificity of an edit on a record (Section 5.2, Eqn. 9 and 10)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from knowedit.errors import InputError
from knowedit.evaluation.records import Record
from knowedit.models import LanguageModel, target_log_probabilities


@dataclass(frozen=True, eq=False)
class Pair:
    """Joint probabilities of the two objects after each of some prompts.

    Attributes:
        new: P[o* | prompt], ``(prompts,)``, float64.
        true: P[o_c | prompt], ``(prompts,)``, float64.
    """

    new: Tensor
    true: Tensor

    @property
    def success(self) -> float:
        """Share of prompts after which o* is more probable than o_c (Eqn. 9)."""
        return float((self.new > self.true).double().mean())

    @property
    def magnitude(self) -> float:
        """Mean of P[o*] − P[o_c] (Eqn. 10)."""
        return float((self.new - self.true).mean())


@dataclass(frozen=True, eq=False)
class RecordScores:
    """The probabilities that Table 2's first six columns are made of, for one record.

    Attributes:
        prompt: after the request itself.
        paraphrases: after its paraphrases.
        neighbourhood: after prompts about other subjects of which o_c is true.
    """

    prompt: Pair
    paraphrases: Pair
    neighbourhood: Pair

    @property
    def columns(self) -> dict[str, float]:
        """ES, EM, PS, PM, NS, NM as shares and probabilities; in NS and NM o_c is the good answer."""
        return {
            "ES": self.prompt.success,
            "EM": self.prompt.magnitude,
            "PS": self.paraphrases.success,
            "PM": self.paraphrases.magnitude,
            "NS": float((self.neighbourhood.true > self.neighbourhood.new).double().mean()),
            "NM": -self.neighbourhood.magnitude,
        }


def pair_probabilities(lm: LanguageModel, prompts: Sequence[str], new: str, true: str) -> Pair:
    """P[o* | prompt] and P[o_c | prompt], all tokens of each, by teacher forcing.

    Args:
        lm: the model as it is now.
        prompts: full texts.
        new: o*.
        true: o_c.

    Raises:
        InputError: no prompts, or an object that does not follow a prompt.
    """
    asked = [(prompt, target) for target in (new, true) for prompt in prompts]
    found = target_log_probabilities(lm, asked, batch_size=max(32, len(asked))).double().exp()
    return Pair(found[: len(prompts)], found[len(prompts) :])


def score_record(lm: LanguageModel, record: Record) -> RecordScores:
    """Score the model as it is now: call it inside and outside `Edit.applied` and compare.

    Raises:
        InputError: a record without a true object, paraphrases or neighbours.
    """
    fact = record.fact
    if fact.target_true is None or not record.paraphrase_prompts or not record.neighborhood_prompts:
        raise InputError(
            f"record {record.case_id} lacks a true object, paraphrases or neighbourhood prompts: "
            "these scores need all three"
        )
    groups = [(fact.text,), record.paraphrase_prompts, record.neighborhood_prompts]
    # One batch for all prompts: the model runs once per record.
    prompts = [prompt for group in groups for prompt in group]
    pair = pair_probabilities(lm, prompts, fact.target_new, fact.target_true)
    sizes = [len(group) for group in groups]
    parts = zip(torch.split(pair.new, sizes), torch.split(pair.true, sizes), strict=True)
    return RecordScores(*(Pair(new, true) for new, true in parts))
