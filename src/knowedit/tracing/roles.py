"""What part a token plays in a prompt, seen from the subject."""

from __future__ import annotations

from enum import StrEnum

from knowedit.models import Prompt


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


def token_roles(prompt: Prompt) -> tuple[Role, ...]:
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
