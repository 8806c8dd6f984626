"""What a model predicts for the facts of an edit, measured on the model itself: without the edit, and with it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from typing import Any, Final

import torch
from torch import Tensor

from knowedit.errors import InputError
from knowedit.facts import Fact
from knowedit.models import LanguageModel, batch, encode, forward, target_ids

ROWS: Final = 32
_SHOWN: Final = 3
WANTED: Final = ContextVar("whether the outcome of an edit that is computed now is measured", default=True)


@dataclass(frozen=True)
class Prediction:
    """What a model predicts for a fact.

    Attributes:
        new: P[o* | p], of all tokens of the new object.
        true: the same of the true object; None where that is not known or cannot follow the prompt.
        rank: of the new object's first token among all tokens; 1 is the most probable.
        text: what greedy decoding gives: one of the two objects, or as many tokens as the longer of them has.
        is_new: whether greedy decoding gives the new object.
    """

    new: float
    true: float | None
    rank: int
    text: str
    is_new: bool


@dataclass(frozen=True)
class Outcome:
    """What a model predicts for each fact of an edit, in their order; the edits below it are applied both times.

    Attributes:
        before: without the edit.
        after: with it.
    """

    before: tuple[Prediction, ...]
    after: tuple[Prediction, ...]

    def as_json(self) -> dict[str, Any]:
        """As files have it."""
        return {name: list(map(asdict, found)) for name, found in vars(self).items()}

    @property
    def took(self) -> bool:
        """Whether the edited model predicts every new object."""
        return all(one.is_new for one in self.after)

    def missed(self, facts: Sequence[Fact]) -> list[str]:
        """A sentence about each fact that the edited model does not predict, the first ones in full.

        Args:
            facts: those of the edit.
        """
        found = [
            f"the edit did not take: after {fact.text!r} the edited model predicts {one.text!r}, and "
            f"{fact.target_new!r} with a probability of {one.new:.1%} (rank {one.rank})"
            for fact, one in zip(facts, self.after, strict=True)
            if not one.is_new
        ]
        more = len(found) - _SHOWN
        return found[:_SHOWN] + ([f"{more} more of the {len(facts)} facts did not take"] if more > 0 else [])


@contextmanager
def without_outcome() -> Iterator[None]:
    """Edits computed inside the ``with``, in this thread, have no outcome.

    For callers that measure thousands of edited models in their own way: the outcome is 4 % of an edit.
    """
    token = WANTED.set(False)
    try:
        yield
    finally:
        WANTED.reset(token)


def predictions(lm: LanguageModel, facts: Sequence[Fact]) -> tuple[Prediction, ...]:
    """What a model predicts, as it is now, for each fact; nothing is drawn.

    One forward reads each fact with its objects behind it. That tells the probabilities, and whether greedy decoding
    gives an object: it does if each of the object's tokens is the most probable one after those before it.

    Args:
        lm: the model.
        facts: any number.

    Raises:
        InputError: a new object that cannot follow its prompt, or no room for it.
        NumericalError: the model's logits are not finite.
    """
    parts = (facts[at : at + ROWS] for at in range(0, len(facts), ROWS))
    return tuple(found for part in parts for found in _predicted(lm, part))


@torch.no_grad()
def _predicted(lm: LanguageModel, facts: Sequence[Fact]) -> list[Prediction]:
    heads = [encode(lm.tokenizer, fact.text) for fact in facts]
    objects = [(target_ids(lm.tokenizer, fact.text, fact.target_new), _true_ids(lm, fact)) for fact in facts]
    read = [(head, ids) for head, pair in zip(heads, objects, strict=True) for ids in pair if ids]
    longest = max(len(ids) for _, ids in read)
    data = batch(lm, [[*head, *ids[:-1]] for head, ids in read])
    starts = torch.tensor([len(head) - 1 for head, _ in read], device=lm.device)
    offsets = torch.arange(longest, device=lm.device)
    logits = forward(lm, data, (starts[:, None] + offsets).minimum(data.last[:, None])).float()
    rows = iter(logits)
    return [
        _prediction(lm, head, pair, [next(rows) for ids in pair if ids])
        for head, pair in zip(heads, objects, strict=True)
    ]


def _true_ids(lm: LanguageModel, fact: Fact) -> list[int]:
    """The tokens of the true object; none where it is not known or the prompt's tokens would change before it."""
    if fact.target_true is None:
        return []
    try:
        return target_ids(lm.tokenizer, fact.text, fact.target_true)
    except InputError:
        return []


def _prediction(
    lm: LanguageModel, head: list[int], objects: tuple[list[int], list[int]], logits: list[Tensor]
) -> Prediction:
    """Of one fact, from the logits ``(positions, vocabulary)`` behind its prompt, followed by either object."""
    new, true = objects
    given = [ids for ids in objects if ids]
    greedy = [
        ids for ids, own in zip(given, logits, strict=True) if own[: len(ids)].argmax(-1).tolist() == ids
    ]
    first = logits[0][0]
    return Prediction(
        new=_probability(logits[0], new),
        true=_probability(logits[1], true) if true else None,
        rank=1 + int((first > first[new[0]]).sum()),
        text=_text(lm, greedy[0] if greedy else _continued(lm, head, first, max(map(len, given)))),
        is_new=new in greedy,
    )


def _probability(logits: Tensor, ids: list[int]) -> float:
    index = torch.tensor(ids, device=logits.device)[:, None]
    return float(logits[: len(ids)].log_softmax(-1).gather(-1, index).sum().exp())


def _continued(lm: LanguageModel, head: list[int], first: Tensor, count: int) -> list[int]:
    if count == 1:
        return [int(first.argmax())]
    return lm.generate_ids([head], count)[0]


def _text(lm: LanguageModel, ids: list[int]) -> str:
    return str(lm.tokenizer.decode(ids)).strip()
