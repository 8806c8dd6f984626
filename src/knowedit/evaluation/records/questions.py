"""Locality and portability prompts: texts with an answer, of a kind that the data set names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from knowedit.errors import InputError
from knowedit.facts import is_unicode

ONE_HOP = "one_hop"
"""How EasyEdit's scripts call the kind of what its files have as ``New Question`` and ``New Answer``."""


@dataclass(frozen=True)
class Question:
    """A prompt with its answers. Its source calls the first one the ground truth; the others mean the same.

    Attributes:
        kind: what the data set calls it, for instance ``Relation_Specificity``.
        prompt: a text that the answer follows.
        answers: the first is the one that is scored; none where the source has none, and then nothing is scored.

    Raises:
        InputError: an empty text, or one that is not Unicode.
    """

    kind: str
    prompt: str
    answers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for text in (self.kind, self.prompt, *self.answers):
            if not isinstance(text, str) or not text.strip() or not is_unicode(text):
                raise InputError(f"has {text!r} in it: expected text")

    @staticmethod
    def texts_of(value: Any) -> tuple[str, ...]:
        """The texts of an answer as the sources have it: a text, a number, or lists of these within each other.

        Empty texts are left out, and so is a text that was there before.

        Raises:
            InputError: anything else.
        """
        return tuple(dict.fromkeys(text for text in _texts(value) if text.strip()))

    @staticmethod
    def all_of(value: Any) -> tuple[Question, ...] | None:
        """The questions of ``locality`` or ``portability`` as KnowEdit and EasyEdit have them; None if there are none.

        Args:
            value: for each kind a list of objects with ``prompt`` and ``ground_truth``, or one such object, in which
                both may be lists of the same length; or an object with ``New Question`` and ``New Answer``.

        Raises:
            InputError: anything else.
        """
        if value is None or _are_questions(value):
            return value or None
        if not isinstance(value, Mapping):
            raise InputError(
                f"is a {type(value).__name__}: expected an object with a list of prompts for each kind"
            )
        if "New Question" in value:
            return tuple(_asked(ONE_HOP, value["New Question"], value.get("New Answer")))
        return tuple(one for kind, entries in value.items() for one in _of_kind(kind, entries)) or None

    @staticmethod
    def as_kinds(questions: Iterable[Question]) -> dict[str, list[dict[str, Any]]]:
        """What `all_of` reads the same questions from."""
        found: dict[str, list[dict[str, Any]]] = {}
        for one in questions:
            found.setdefault(one.kind, []).append({"prompt": one.prompt, "ground_truth": list(one.answers)})
        return found


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif type(value) is int:
        yield str(value)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _texts(part)
    elif value is not None:
        raise InputError(f"has the answer {value!r:.60}: expected text, or a list of texts")


def _are_questions(value: Any) -> bool:
    return isinstance(value, tuple) and all(isinstance(one, Question) for one in value)


def _of_kind(kind: str, entries: Any) -> Iterator[Question]:
    for entry in entries if isinstance(entries, list | tuple) else () if entries is None else (entries,):
        if not isinstance(entry, Mapping) or "prompt" not in entry:
            raise InputError(
                f"has {entry!r:.60} under {kind}: expected an object with prompt and ground_truth"
            )
        yield from _asked(kind, entry["prompt"], entry.get("ground_truth"))


def _asked(kind: str, prompt: Any, answer: Any) -> Iterator[Question]:
    """One question, or one for each prompt of a list with as many answers."""
    prompts = prompt if isinstance(prompt, list | tuple) else (prompt,)
    several = len(prompts) != 1
    if several and (not isinstance(answer, list | tuple) or len(answer) != len(prompts)):
        raise InputError(f"has {len(prompts)} prompts under {kind}: expected a list of as many ground_truth")
    for text, its in zip(prompts, answer if several else (answer,), strict=True):
        yield Question(kind, text, Question.texts_of(its))
