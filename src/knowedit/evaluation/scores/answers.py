"""Token accuracy: what a model predicts at each token of an answer (zsRE, KnowEdit).

As EasyEdit measures it (`easyeditor/evaluate`, `test_prediction_acc`): the answer follows its prompt, and at each of
its tokens the most probable one is compared (teacher forcing). Locality compares with the tokens that the unedited
model predicts at the same places, right or wrong; portability, and the request itself, with the answer. A record's
value is the mean over its prompts of one kind, and then over the kinds (`examples/run_knowedit_llama2.py`). Of several
answers the first counts; a prompt without an answer is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch

from knowedit.errors import InputError
from knowedit.evaluation.records.questions import Question
from knowedit.evaluation.records.record import Record
from knowedit.models import LanguageModel, batch, encode, forward, target_ids

BATCH = 32
Ids: TypeAlias = tuple[int, ...]


@dataclass(frozen=True)
class Answered:
    """Token ids at the places of one answer, all three of the same length.

    Attributes:
        kind: that of the question.
        expected: the answer's own.
        given: the most probable ones.
        before: those of the unedited model; None where it was not asked.
    """

    kind: str
    expected: Ids
    given: Ids
    before: Ids | None = None

    @property
    def accuracy(self) -> float:
        """Share of tokens that are the answer's."""
        return _same(self.given, self.expected)

    @property
    def unchanged(self) -> float | None:
        """Share of tokens that the unedited model predicts too; None where it was not asked."""
        return None if self.before is None else _same(self.given, self.before)


@dataclass(frozen=True)
class AnswerScores:
    """What was measured on the answers of one record.

    Attributes:
        request: after the request, with the new object as the answer.
        locality: after the locality prompts.
        portability: after the portability prompts.
    """

    request: Answered
    locality: tuple[Answered, ...] = ()
    portability: tuple[Answered, ...] = ()

    @property
    def columns(self) -> dict[str, float | None]:
        """Acc; Loc and Port where the record has such prompts with answers. None is NOT MEASURED."""
        found: dict[str, float | None] = {"Acc": self.request.accuracy}
        if self.locality:
            found["Loc"] = _by_kind([(one.kind, one.unchanged) for one in self.locality])
        if self.portability:
            found["Port"] = _by_kind([(one.kind, one.accuracy) for one in self.portability])
        return found

    @classmethod
    def measure(
        cls, lm: LanguageModel, record: Record, before: Sequence[Ids] | None = None
    ) -> AnswerScores | None:
        """Ask the model as it is now; None of a record that has no such prompts, and a true object to compare with.

        Args:
            lm: the model.
            record: its questions are asked in one batch with the request.
            before: what `predictions` found in the unedited model.

        Raises:
            InputError: an answer that does not follow its prompt.
        """
        local, port = _asked(record.locality), _asked(record.portability)
        if not local and not port and record.fact.target_true is not None:
            return None
        questions = (Question("request", record.fact.text, (record.fact.target_new,)), *local, *port)
        was_given: Sequence[Ids | None] = [None] * len(local) if before is None else before
        known = (None, *was_given, *[None] * len(port))
        request, *found = (
            Answered(one.kind, *ids, was)
            for one, ids, was in zip(questions, _forced(lm, questions), known, strict=True)
        )
        return cls(request, tuple(found[: len(local)]), tuple(found[len(local) :]))

    @staticmethod
    def predictions(lm: LanguageModel, record: Record) -> tuple[Ids, ...] | None:
        """What the model predicts at the locality answers, to be given to `measure` later; None without any."""
        local = _asked(record.locality)
        return tuple(given for _, given in _forced(lm, local)) if local else None

    def to_json(self) -> dict[str, Any]:
        """Exact."""
        return {name: [_entry(one) for one in group] for name, group in self._groups().items()}

    def _groups(self) -> dict[str, tuple[Answered, ...]]:
        return {"request": (self.request,), "locality": self.locality, "portability": self.portability}

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> AnswerScores:
        """What `to_json` wrote."""
        groups = {name: tuple(map(_answered, entry[name])) for name in ("request", "locality", "portability")}
        (request,) = groups.pop("request")
        return cls(request, **groups)


def _entry(one: Answered) -> dict[str, Any]:
    found = {"kind": one.kind, "expected": list(one.expected), "given": list(one.given)}
    return found if one.before is None else found | {"before": list(one.before)}


def _answered(entry: Mapping[str, Any]) -> Answered:
    kind, expected, given = entry["kind"], _ids(entry["expected"]), _ids(entry["given"])
    before = _ids(entry["before"]) if "before" in entry else None
    if not len(expected) == len(given) == len(given if before is None else before) > 0:
        raise ValueError("as many given tokens as expected ones")
    if not isinstance(kind, str):
        raise ValueError("the kind of a prompt")
    return Answered(kind, expected, given, before)


def _ids(value: Any) -> Ids:
    if not isinstance(value, list) or not all(type(one) is int for one in value):
        raise ValueError("a list of token ids")
    return tuple(value)


def _same(first: Ids, second: Ids) -> float:
    return sum(a == b for a, b in zip(first, second, strict=True)) / len(first)


def _by_kind(values: Sequence[tuple[str, float | None]]) -> float | None:
    kinds: dict[str, list[float]] = {}
    for kind, value in values:
        if value is None:
            return None
        kinds.setdefault(kind, []).append(value)
    return _mean([_mean(found) for found in kinds.values()])


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _asked(questions: Sequence[Question] | None) -> list[Question]:
    """The questions that are scored: those with an answer."""
    return [one for one in questions or () if one.answers]


@torch.no_grad()
def _forced(lm: LanguageModel, questions: Sequence[Question]) -> list[tuple[Ids, Ids]]:
    """The tokens of each first answer, and the most probable ones at their places."""
    rows = [_tokens(lm, one) for one in questions]
    parts = (rows[i : i + BATCH] for i in range(0, len(rows), BATCH))
    return [pair for part in parts for pair in _predicted(lm, part)]


def _tokens(lm: LanguageModel, one: Question) -> tuple[list[int], list[int]]:
    prompt = one.prompt.rstrip()
    head = encode(lm.tokenizer, prompt)
    if not head:
        raise InputError(f"the prompt {one.prompt!r} has no tokens: give one with text in it")
    return head, target_ids(lm.tokenizer, prompt, one.answers[0])


def _predicted(lm: LanguageModel, rows: Sequence[tuple[list[int], list[int]]]) -> list[tuple[Ids, Ids]]:
    # The last token of an answer is predicted, never read.
    data = batch(lm, [[*head, *answer[:-1]] for head, answer in rows])
    starts = torch.tensor([len(head) - 1 for head, _ in rows], device=lm.device)
    steps = torch.arange(max(len(answer) for _, answer in rows), device=lm.device)
    places = (starts[:, None] + steps).minimum(data.last[:, None])
    best = forward(lm, data, places).argmax(dim=-1).tolist()
    return [(tuple(answer), tuple(ids[: len(answer)])) for ids, (_, answer) in zip(best, rows, strict=True)]
