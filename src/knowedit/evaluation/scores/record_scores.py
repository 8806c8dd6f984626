"""The scores of one record: the nine columns of Table 2 (Section 5.2, Eqn. 9 and 10), token accuracy where it has such
prompts, and their JSON.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import torch
from torch import Tensor

from knowedit.errors import FileFormatError, InputError
from knowedit.evaluation.scores.answers import AnswerScores
from knowedit.evaluation.scores.columns import COLUMNS
from knowedit.evaluation.scores.texts import TextScores
from knowedit.models import LanguageModel, target_token_log_probabilities

Probability = Literal["joint", "per-token"]

GROUPS: Final = {"prompt": "prompt", "paraphrases": "paraphrases", "neighborhood": "neighbourhood"}
"""The groups of a record's prompts, and what each is called in JSON."""


@dataclass(frozen=True, eq=False)
class Pair:
    """Probabilities of the two objects after each of some prompts.

    Attributes:
        new: P[o* | prompt], ``(prompts,)``, float64.
        true: P[o_c | prompt], ``(prompts,)``, float64.
    """

    new: Tensor
    true: Tensor

    @classmethod
    def measure(
        cls,
        lm: LanguageModel,
        prompts: Sequence[str],
        new: str,
        true: str,
        probability: Probability = "joint",
    ) -> Pair:
        """P[o* | prompt] and P[o_c | prompt], all tokens of each, by teacher forcing in one batch.

        Args:
            lm: the model as it is now.
            prompts: full texts.
            new: o*.
            true: o_c.
            probability: ``joint`` is P[o | p] of all the object's tokens (Section 5.2); ``per-token`` is its
                geometric mean over the tokens, as in the released code.

        Raises:
            InputError: no prompts, or an object that does not follow a prompt.
        """
        asked = [(prompt, target) for target in (new, true) for prompt in prompts]
        logs = target_token_log_probabilities(lm, asked, batch_size=max(32, len(asked)))
        sums = torch.stack([log.sum() for log in logs]).double()
        if probability == "per-token":
            sums = sums / torch.tensor([len(log) for log in logs], device=sums.device)
        found = sums.exp().cpu()
        return cls(found[: len(prompts)], found[len(prompts) :])

    @classmethod
    def none(cls) -> Pair:
        """Of no prompts."""
        return cls(torch.zeros(0, dtype=torch.float64), torch.zeros(0, dtype=torch.float64))

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
        """What `to_json` wrote.

        Raises:
            FileFormatError: anything but two lists of as many numbers.
        """
        new, true = (torch.tensor(entry[key], dtype=torch.float64) for key in ("new", "true"))
        numbers = all(type(one) is float for key in ("new", "true") for one in entry[key])
        if new.ndim != 1 or new.shape != true.shape or not numbers:
            raise FileFormatError("a group of prompts has other than two lists of as many numbers")
        return cls(new, true)


@dataclass(frozen=True, eq=False)
class RecordScores:
    """The probabilities and texts that Table 2's columns are made of, for one record.

    Attributes:
        prompt: after the request itself; empty where the record has no true object to compare with.
        paraphrases: after its paraphrases; None where the record has none.
        neighborhood: after prompts about other subjects of which o_c is true; None where it has none.
        texts: what was measured on texts, or None.
        probability: what the probabilities are, see `Pair.measure`.
        case_id: the record's number.
        answers: what was measured token by token; None where the record has no such prompts.
    """

    prompt: Pair
    paraphrases: Pair | None
    neighborhood: Pair | None
    texts: TextScores | None = None
    probability: Probability = "joint"
    case_id: int | None = None
    answers: AnswerScores | None = None

    @property
    def groups(self) -> dict[str, Pair]:
        """The groups of prompts that the record has, by name."""
        found = {name: getattr(self, name) for name in GROUPS}
        return {name: pair for name, pair in found.items() if pair is not None}

    @property
    def columns(self) -> dict[str, float | None]:
        """The nine of `COLUMNS`, in their order and units, and those of its `answers`; None is NOT MEASURED.

        In NS and NM o_c is the good answer. Equal probabilities are no success for either.
        """
        good = {
            "E": self.prompt,
            "P": self.paraphrases,
            "N": None if self.neighborhood is None else self.neighborhood.swapped(),
        }
        found: dict[str, float | None] = dict.fromkeys(COLUMNS)
        for key, pair in good.items():
            if pair is not None and len(pair.new):
                found[key + "S"], found[key + "M"] = pair.success, pair.magnitude
        found |= {} if self.texts is None else self.texts.columns
        return {key: found[key] for key in COLUMNS} | ({} if self.answers is None else self.answers.columns)

    def value(self, column: str) -> float:
        """One column that has to be there.

        Raises:
            InputError: it is not measured, or there is no such column.
        """
        found = self.columns.get(column)
        if found is None:
            raise InputError(
                f"{column} of record {self.case_id} is NOT MEASURED: give a record with the texts it needs, "
                "and a Scorer with a TextScorer where they are generated"
            )
        return found

    def to_json(self) -> dict[str, Any]:
        """Everything the columns are computed from; floats come back bit for bit."""
        pairs = {key: getattr(self, name) for name, key in GROUPS.items()}
        return {
            "case_id": self.case_id,
            "probability": self.probability,
            **{key: None if pair is None else pair.to_json() for key, pair in pairs.items()},
            "texts": None if self.texts is None else self.texts.to_json(),
            **({} if self.answers is None else {"answers": self.answers.to_json()}),
        }

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> RecordScores:
        """What `to_json` wrote.

        Raises:
            FileFormatError: a missing field or one of another type.
        """
        try:
            pairs = {
                name: None if entry[key] is None and name != "prompt" else Pair.from_json(entry[key])
                for name, key in GROUPS.items()
            }
            texts = None if entry["texts"] is None else TextScores.from_json(entry["texts"])
            answers = AnswerScores.from_json(entry["answers"]) if "answers" in entry else None
            return cls(
                **pairs,  # type: ignore[arg-type]
                texts=texts,
                probability=entry["probability"],
                case_id=entry["case_id"],
                answers=answers,
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise FileFormatError(
                f"the scores of a record lack or misspell {error}: expected what RecordScores.to_json wrote; "
                "score the record again"
            ) from None
