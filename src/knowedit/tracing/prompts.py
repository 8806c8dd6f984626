"""A prompt as a trace reads it: where its subject is, and what part each token plays."""

from __future__ import annotations

from enum import StrEnum

from knowedit.errors import InputError
from knowedit.facts import template_of
from knowedit.models import LanguageModel, Prompt, encode_with_offsets, locate


class Role(StrEnum):
    """The kinds of tokens that the paper averages over, in the order of the text.

    The subject comes first: a subject at the end of the prompt has a last subject token and the prompt no
    `LAST`. A subject of one token has only a last one; of two, a first and a last. A prompt whose first token
    after the subject is its last counts it as `LAST`.
    """

    BEFORE = "before the subject"
    FIRST_SUBJECT = "first subject token"
    MIDDLE_SUBJECT = "middle subject token"
    LAST_SUBJECT = "last subject token"
    FIRST_AFTER = "first token after the subject"
    FURTHER = "further token"
    LAST = "last token"

    @classmethod
    def of(cls, prompt: Prompt) -> tuple[Role, ...]:
        """The role of each token of ``prompt``."""
        return tuple(_role(prompt, token) for token in range(len(prompt.ids)))


def _role(prompt: Prompt, token: int) -> Role:
    rules = (
        (token < prompt.start, Role.BEFORE),
        (token == prompt.last_subject, Role.LAST_SUBJECT),
        (token == prompt.start, Role.FIRST_SUBJECT),
        (token < prompt.stop, Role.MIDDLE_SUBJECT),
        (token == prompt.last, Role.LAST),
        (token == prompt.stop, Role.FIRST_AFTER),
    )
    return next((role for holds, role in rules if holds), Role.FURTHER)


def read_prompt(lm: LanguageModel, prompt: str | Prompt, subject: str | None) -> tuple[Prompt, str]:
    """The prompt with its tokens, and the subject as it is written in it.

    Args:
        lm: the model.
        prompt: a text with one slot ``{}``, a text in which the subject occurs once, or a `Prompt`.
        subject: may be left out for a `Prompt`.

    Raises:
        InputError: no subject, or one that cannot be found.
    """
    if isinstance(prompt, Prompt):
        return prompt, _written_subject(lm, prompt, subject)
    if subject is None:
        raise InputError("no subject was given: name the subject whose tokens are to be corrupted")
    return locate(lm, template_of(prompt, subject), subject), subject


def _written_subject(lm: LanguageModel, prompt: Prompt, subject: str | None) -> str:
    spans = encode_with_offsets(lm.tokenizer, prompt.text)[1]
    if len(spans) != len(prompt.ids) or not 0 <= prompt.start < prompt.stop <= len(spans):
        raise InputError(
            f"the tokens of the prompt {prompt.text!r} are not those of this model's tokenizer: "
            "make it with knowedit.models.locate"
        )
    begin, end = spans[prompt.start][0], spans[prompt.stop - 1][1]
    wanted = prompt.text[begin:end].strip() if subject is None else subject
    found = prompt.text.find(wanted, begin)
    if not wanted or found < 0 or found >= end:
        raise InputError(
            f"the subject {subject!r} is not at tokens {prompt.start} to {prompt.stop - 1} of "
            f"{prompt.text!r}: leave it out, the prompt knows where its subject is"
        )
    return wanted
