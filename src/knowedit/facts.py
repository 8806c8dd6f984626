"""The fact that an edit changes: ``(subject, relation, object)`` as text."""

from __future__ import annotations

from dataclasses import dataclass

from knowedit.errors import InputError

SLOT = "{}"


def is_unicode(text: str) -> bool:
    """Whether a text can be written as UTF-8: no half of a surrogate pair, as from a shell of another encoding."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def split_template(template: str) -> tuple[str, str]:
    """The text before and after the subject's slot.

    Args:
        template: text with the slot ``{}`` exactly once and no other brace.

    Raises:
        InputError: no slot, more than one, or a brace elsewhere.
    """
    found = template.count(SLOT)
    if found != 1:
        raise InputError(
            f"the prompt {template!r} has {found} slots '{{}}', expected exactly one: "
            "write '{}' where the subject belongs"
        )
    before, after = template.split(SLOT)
    if set("{}") & set(before + after):
        raise InputError(
            f"the prompt {template!r} has a brace besides its slot '{{}}': remove it, only the slot may have braces"
        )
    return before, after


def fill(template: str, subject: str) -> str:
    """``template`` with ``subject`` in its slot; braces in the subject are plain text."""
    before, after = split_template(template)
    return before + subject + after


def template_of(prompt: str, subject: str) -> str:
    """``prompt`` as a template: as it is if it has a slot, else with the subject's only occurrence as the slot.

    Braces of the subject itself are no slot.

    Raises:
        InputError: the subject is not in the prompt, or more than once.
    """
    if SLOT in (prompt.replace(subject, "") if subject else prompt):
        return prompt
    found = prompt.count(subject) if subject else 0
    if found != 1:
        raise InputError(
            f"the subject {subject!r} occurs {found} times in the prompt {prompt!r}, expected once: "
            "write '{}' where the subject belongs"
        )
    return prompt.replace(subject, SLOT)


@dataclass(frozen=True)
class Fact:
    """A requested change: after ``prompt`` with ``subject`` in its slot, predict ``target_new``.

    Attributes:
        subject: the entity, as it occurs in the prompt.
        prompt: text with one ``{}`` for the subject, up to (not including) the object.
        target_new: the new object; a leading space is added later where the tokenizer needs one.
        target_true: what the model predicts before the edit, if known.
        relation: a name for the relation, if known.

    Raises:
        InputError: an empty field, or a prompt that is not a template.
    """

    subject: str
    prompt: str
    target_new: str
    target_true: str | None = None
    relation: str | None = None

    def __post_init__(self) -> None:
        split_template(self.prompt)
        for field in ("subject", "target_new"):
            if not getattr(self, field).strip():
                raise InputError(f"the fact has an empty {field}: give at least one visible character")
        for field in ("subject", "prompt", "target_new"):
            if not is_unicode(getattr(self, field)):
                raise InputError(
                    f"the {field} {getattr(self, field)!r} is not valid Unicode: give it as UTF-8"
                )
        if self.subject != self.subject.strip():
            raise InputError(
                f"the subject {self.subject!r} begins or ends with white space: put it in the prompt"
            )

    @property
    def text(self) -> str:
        """The prompt with the subject filled in."""
        return fill(self.prompt, self.subject)
