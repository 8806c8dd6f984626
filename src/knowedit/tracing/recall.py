"""Which facts a model knows, and up to which word (Appendix B.1)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import islice

from knowedit.errors import InputError
from knowedit.facts import Fact
from knowedit.models import LanguageModel
from knowedit.tracing.known import KnownFact

TOKENS = 10
"""Tokens that are generated; the texts in the released list of known facts are about so long."""

BATCH = 32
WORD = re.compile(r"\w+")


def recall_facts(
    lm: LanguageModel, facts: Iterable[Fact], *, max_new_tokens: int = TOKENS, batch_size: int = BATCH
) -> Iterator[KnownFact | None]:
    """For each fact in turn, the prompt after which the model names its true object, or None.

    A fact is known if the model's most probable continuation names the object before any other capitalised
    word. The text up to the object is then the prompt, so it may be longer than the fact's own.

    Args:
        lm: the model.
        facts: with ``target_true``; a generator is read in batches.
        max_new_tokens: how far the model may go before it has to name the object.
        batch_size: prompts that are continued together.

    Raises:
        InputError: a fact without a true object, or numbers that are not positive.
    """
    if max_new_tokens < 1 or batch_size < 1:
        raise InputError(
            f"max_new_tokens is {max_new_tokens} and batch_size is {batch_size}: both have to be at least 1"
        )
    return _recalled(lm, facts, max_new_tokens, batch_size)


def _recalled(lm: LanguageModel, facts: Iterable[Fact], count: int, size: int) -> Iterator[KnownFact | None]:
    rest = iter(facts)
    while group := list(islice(rest, size)):
        texts = lm.generate([fact.text for fact in group], count)
        for fact, text in zip(group, texts, strict=True):
            yield known_fact(fact, text.removeprefix(fact.text))


def known_fact(fact: Fact, continuation: str) -> KnownFact | None:
    """The known fact if ``continuation``, which follows ``fact.text``, names its true object in time.

    The object has to be there as whole words after one space, or else the text up to it would not be a prompt
    that it follows.

    Raises:
        InputError: the fact has no true object.
    """
    if not (fact.target_true or "").strip():
        raise InputError(f"the fact {fact.text!r} has no true object: give target_true")
    answer = str(fact.target_true).strip()
    found = re.search(rf"(?<!\s) {re.escape(answer)}(?!\w)", continuation)
    if found is None or _has_capitals(continuation[: found.start()]):
        return None
    return KnownFact(fact.text + continuation[: found.start()], fact.subject, answer)


def _has_capitals(text: str) -> bool:
    return any(word[0][0].isupper() for word in WORD.finditer(text))
