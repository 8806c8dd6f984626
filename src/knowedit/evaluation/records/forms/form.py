"""What a form of records is, and how an entry is checked against one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from knowedit.errors import InputError
from knowedit.evaluation.records.questions import Question
from knowedit.facts import Fact, is_unicode, template_of

SHOWN = 60
"""Characters of a value that an error message quotes at most."""


class NoSingleEdit(InputError):
    """An entry that is as its form wants it, but asks for no single edit of a fact; such records are left out."""

    def __init__(self, reason: str, detail: str = ""):
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason


def _visible(text: str) -> str:
    if not text.strip():
        raise ValueError("is empty: expected text")
    if not is_unicode(text):
        raise ValueError("is not valid Unicode: expected UTF-8")
    return text


Text = Annotated[str, AfterValidator(_visible)]
Texts = tuple[Text, ...] | None
CaseId = Annotated[int, Field(ge=0)]
Answers = Annotated[tuple[str, ...], BeforeValidator(Question.texts_of)]
Questions = Annotated[tuple[Question, ...] | None, BeforeValidator(Question.all_of)]


class Schema(BaseModel):
    """A frozen, strict schema; fields that it does not know are ignored, as sources have many."""

    model_config = ConfigDict(frozen=True, strict=True)

    @classmethod
    def checked(cls, entry: Mapping[str, Any]) -> Self:
        """The entry in this schema; every problem is named in one line.

        Raises:
            InputError: which fields are missing or wrong, and how.
        """
        try:
            # JSON lists are tuples here; everything else has to be of the very type.
            return cls.model_validate(_tuples(entry))
        except ValidationError as error:
            raise InputError("; ".join(map(_problem, error.errors(include_url=False)))) from None

    def fields(self) -> dict[str, Any]:
        """The fields of a `Record`.

        Raises:
            NoSingleEdit: they ask for none.
            InputError: they are no fact.
        """
        raise NotImplementedError

    @staticmethod
    def single_edit(subject: str, prompt: str, new: str, truths: tuple[str, ...]) -> Fact:
        """The fact of a prompt in which the subject is written out.

        Args:
            subject: the entity.
            prompt: has the subject once; white space at the end is taken away.
            new: the new object.
            truths: the first is the true object; none where it is not known.

        Raises:
            NoSingleEdit: no new object, one that is true, or a prompt that does not have the subject once.
        """
        if not new.strip():
            raise NoSingleEdit("the new object is empty")
        if new.strip() in {text.strip() for text in truths}:
            raise NoSingleEdit("the new object is the true one", repr(new.strip()))
        try:
            subject = subject.strip()
            return Fact(subject, template_of(prompt.rstrip(), subject), new, truths[0] if truths else None)
        except InputError as error:
            raise NoSingleEdit("the prompt does not have the subject once", str(error)) from None


@dataclass(frozen=True)
class Form:
    """A form of records.

    Attributes:
        name: for people.
        known_by: the fields that tell it from the others, for people.
        fits: whether an entry is of this form.
        schema: its fields.
        numbered: whether an entry without a case id has its place in the file for one.
    """

    name: str
    known_by: str
    fits: Callable[[Mapping[str, Any]], bool]
    schema: type[Schema]
    numbered: bool = True


def _tuples(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _tuples(part) for name, part in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list | tuple) else value


def _problem(found: Any) -> str:
    place = ".".join(str(part) for part in found["loc"]) or "the record"
    if found["type"] == "missing":
        return f"{place} is missing"
    if found["type"] == "value_error":
        return f"{place} {found['ctx']['error']}"
    value = repr(found["input"])
    shown = value if len(value) <= SHOWN else f"{value[:SHOWN]}..."
    return f"{place} is {shown}: {found['msg'][:1].lower()}{found['msg'][1:]}"
