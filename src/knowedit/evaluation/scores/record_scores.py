"""What one record says about a model: the nine columns of Table 2 (Section 5.2, Eqn. 9 and 10)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from knowedit.errors import FileFormatError, InputError
from knowedit.evaluation.records.record import Record
from knowedit.evaluation.scores.columns import COLUMNS
from knowedit.evaluation.scores.measures import Measures, Probability
from knowedit.evaluation.scores.texts import TextScores, score_texts
from knowedit.models import LanguageModel, target_token_log_probabilities


@dataclass(frozen=True, eq=False)
class Pair:
    """Probabilities of the two objects after each of some prompts.

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

    def swapped(self) -> Pair:
        """The same with o_c as the good answer."""
        return Pair(self.true, self.new)

    def to_json(self) -> dict[str, list[float]]:
        """Exact."""
        return {"new": self.new.double().tolist(), "true": self.true.double().tolist()}

    @classmethod
    def from_json(cls, entry: Mapping[str, Sequence[float]]) -> Pair:
        """What `to_json` wrote."""
        return cls(*(torch.tensor(entry[key], dtype=torch.float64) for key in ("new", "true")))


@dataclass(frozen=True, eq=False)
class RecordScores:
    """The probabilities and texts that Table 2's columns are made of, for one record.

    Attributes:
        prompt: after the request itself.
        paraphrases: after its paraphrases; None where the record has none.
        neighbourhood: after prompts about other subjects of which o_c is true; None where it has none.
        texts: what was measured on texts, or None.
        probability: what the probabilities are, see `Measures`.
        case_id: the record's number.
    """

    prompt: Pair
    paraphrases: Pair | None
    neighbourhood: Pair | None
    texts: TextScores | None = None
    probability: Probability = "joint"
    case_id: int | None = None

    @property
    def groups(self) -> dict[str, Pair]:
        """The groups of prompts that the record has, by name."""
        found = {name: getattr(self, name) for name in _PAIRS}
        return {name: pair for name, pair in found.items() if pair is not None}

    @property
    def columns(self) -> dict[str, float | None]:
        """The nine of `COLUMNS`, in their order and units; None is NOT MEASURED.

        In NS and NM o_c is the good answer. Equal probabilities are no success for either.
        """
        good = {
            "E": self.prompt,
            "P": self.paraphrases,
            "N": None if self.neighbourhood is None else self.neighbourhood.swapped(),
        }
        found: dict[str, float | None] = {"GE": None, "RS": None, "Essence": None}
        for key, pair in good.items():
            found[key + "S"] = None if pair is None else pair.success
            found[key + "M"] = None if pair is None else pair.magnitude
        found |= {} if self.texts is None else self.texts.columns
        return {key: found[key] for key in COLUMNS}

    def value(self, column: str) -> float:
        """One column that has to be there.

        Raises:
            InputError: it is not measured, or there is no such column.
        """
        found = self.columns.get(column)
        if found is None:
            raise InputError(
                f"{column} of record {self.case_id} is NOT MEASURED: give a record with the texts it needs, "
                "and Measures that ask for it"
            )
        return found

    def to_json(self, *, generated: bool = True) -> dict[str, Any]:
        """Everything the columns are computed from; floats come back bit for bit.

        Args:
            generated: whether the generated texts are kept; the columns do not need them.
        """
        pairs = {name: getattr(self, name) for name in _PAIRS}
        return {
            "case_id": self.case_id,
            "probability": self.probability,
            **{name: None if pair is None else pair.to_json() for name, pair in pairs.items()},
            "texts": None if self.texts is None else self.texts.to_json(generated=generated),
        }

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> RecordScores:
        """What `to_json` wrote.

        Raises:
            FileFormatError: a missing field or one of another type.
        """
        try:
            paraphrases, neighbourhood = (
                None if entry[name] is None else Pair.from_json(entry[name]) for name in _PAIRS[1:]
            )
            texts = None if entry["texts"] is None else TextScores.from_json(entry["texts"])
            prompt = Pair.from_json(entry["prompt"])
            return cls(prompt, paraphrases, neighbourhood, texts, entry["probability"], entry["case_id"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise FileFormatError(
                f"the scores of a record lack or misspell {error}: expected what RecordScores.to_json wrote; "
                "score the record again"
            ) from None


_PAIRS = ("prompt", "paraphrases", "neighbourhood")


def pair_probabilities(
    lm: LanguageModel, prompts: Sequence[str], new: str, true: str, probability: Probability = "joint"
) -> Pair:
    """P[o* | prompt] and P[o_c | prompt], all tokens of each, by teacher forcing.

    Args:
        lm: the model as it is now.
        prompts: full texts.
        new: o*.
        true: o_c.
        probability: see `Measures`.

    Raises:
        InputError: no prompts, or an object that does not follow a prompt.
    """
    asked = [(prompt, target) for target in (new, true) for prompt in prompts]
    logs = target_token_log_probabilities(lm, asked, batch_size=max(32, len(asked)))
    sums = torch.stack([log.sum() for log in logs]).double()
    if probability == "per-token":
        sums = sums / torch.tensor([len(log) for log in logs], device=sums.device)
    found = sums.exp().cpu()
    return Pair(found[: len(prompts)], found[len(prompts) :])


def score_record(
    lm: LanguageModel,
    record: Record,
    measures: Measures | None = None,
    *,
    generator: torch.Generator | None = None,
) -> RecordScores:
    """Score the model as it is now: call it inside and outside `Edit.applied` and compare.

    Args:
        lm: the model.
        record: what to ask; a field that is None leaves its columns NOT MEASURED.
        measures: by default joint probabilities and no text.
        generator: draws the generated text; needed unless that is greedy.

    Raises:
        InputError: a record without a true object, or with empty lists of prompts; or no generator for text that is
            to be drawn.
    """
    asked = measures or Measures()
    _check(record)
    fact = record.fact
    groups = {"prompt": (fact.text,), **_prompt_groups(record)}
    # One batch for all prompts and both objects: the model runs once.
    prompts = [prompt for group in groups.values() for prompt in group]
    pair = pair_probabilities(lm, prompts, fact.target_new, str(fact.target_true), asked.probability)
    sizes = [len(group) for group in groups.values()]
    parts = zip(groups, torch.split(pair.new, sizes), torch.split(pair.true, sizes), strict=True)
    found = {name: Pair(new, true) for name, new, true in parts}
    texts = None if asked.texts is None else score_texts(lm, record, asked.texts, generator)
    return RecordScores(
        found["prompt"],
        found.get("paraphrases"),
        found.get("neighbourhood"),
        texts,
        asked.probability,
        record.case_id,
    )


def _prompt_groups(record: Record) -> dict[str, tuple[str, ...]]:
    groups: dict[str, tuple[str, ...] | None] = {
        "paraphrases": record.paraphrase_prompts,
        "neighbourhood": record.neighborhood_prompts,
    }
    return {name: group for name, group in groups.items() if group is not None}


def _check(record: Record) -> None:
    if record.fact.target_true is None or not all(_prompt_groups(record).values()):
        raise InputError(
            f"record {record.case_id} lacks a true object, paraphrases or neighbourhood prompts: "
            "these scores need all three; a field that the source does not have is None"
        )
