"""The forms that COUNTERFACT records come in, validated; each gives the fields of a `Record`.

| form | known by | where it is found |
|---|---|---|
| nested | ``requested_rewrite`` | the official ``counterfact.json``, copies on the Hub, the organisms |
| compact | ``ground_truth`` | the one-paraphrase form of the knowledge-editing community |
| flat | ``target_false`` | copies for tracing, one row a fact and no further prompts |

What a form lacks is None, which is not the same as an empty list.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, AliasChoices, BaseModel, ConfigDict, Field, ValidationError

from knowedit.errors import FileFormatError, InputError
from knowedit.facts import Fact, is_unicode, template_of

SHOWN = 60
"""Characters of a value that an error message quotes at most."""


def _visible(text: str) -> str:
    if not text.strip():
        raise ValueError("is empty: expected text")
    if not is_unicode(text):
        raise ValueError("is not valid Unicode: expected UTF-8")
    return text


Text = Annotated[str, AfterValidator(_visible)]
Texts = tuple[Text, ...] | None


class _Form(BaseModel):
    """A frozen, strict schema; fields that it does not know are ignored, as sources have many."""

    model_config = ConfigDict(frozen=True, strict=True)


class _RecordTexts(_Form):
    """What a `Record` holds besides its fact."""

    case_id: Annotated[int, Field(ge=0)]
    paraphrase_prompts: Texts = None
    neighborhood_prompts: Texts = None
    generation_prompts: Texts = None
    reference_texts: Texts = None
    essence_texts: Texts = None


class _Object(_Form):
    """An object, as the nested form has it."""

    str_: Text = Field(alias="str")


class _Request(_Form):
    """The request of the nested form; Figure 22 calls the subject ``entity``."""

    prompt: Text
    subject: Text = Field(validation_alias=AliasChoices("subject", "entity"))
    target_new: _Object
    target_true: _Object
    relation_id: Text | None = None


class _Nested(_RecordTexts):
    """The official form."""

    requested_rewrite: _Request

    def fields(self) -> dict[str, Any]:
        """The fields of a `Record`."""
        asked = self.requested_rewrite
        fact = Fact(
            asked.subject, asked.prompt, asked.target_new.str_, asked.target_true.str_, asked.relation_id
        )
        return {"fact": fact} | {name: getattr(self, name) for name in _RecordTexts.model_fields}


class _Compact(_Form):
    """One paraphrase and one neighborhood prompt; the prompt is filled in."""

    case_id: int
    prompt: Text
    subject: Text
    target_new: Text
    ground_truth: Text
    rephrase_prompt: Text | None = None
    locality_prompt: Text | None = None
    locality_ground_truth: Text | None = None
    relation_id: Text | None = None

    def fields(self) -> dict[str, Any]:
        """The fields of a `Record`.

        Raises:
            InputError: the neighbour has another object than the subject, so that it is no neighbour.
        """
        if self.locality_ground_truth not in (None, self.ground_truth):
            raise InputError(
                f"locality_ground_truth is {self.locality_ground_truth!r} and ground_truth {self.ground_truth!r}: "
                "a neighbour has the same true object"
            )
        template = template_of(self.prompt, self.subject)
        return {
            "case_id": self.case_id,
            "fact": Fact(self.subject, template, self.target_new, self.ground_truth, self.relation_id),
            "paraphrase_prompts": _one(self.rephrase_prompt),
            "neighborhood_prompts": _one(self.locality_prompt),
        }


class _Flat(_Form):
    """A fact alone; spaces before objects and subjects belong to the tokenizer and are taken away."""

    case_id: int
    prompt: Text
    subject: Text
    target_true: Text
    target_false: Text
    relation_id: Text | None = None

    def fields(self) -> dict[str, Any]:
        """The fields of a `Record`."""
        subject = self.subject.strip()
        template = template_of(self.prompt.strip(), subject)
        fact = Fact(subject, template, self.target_false.strip(), self.target_true.strip(), self.relation_id)
        return {"case_id": self.case_id, "fact": fact}


FORMS: dict[str, type[_Nested] | type[_Compact] | type[_Flat]] = {
    "requested_rewrite": _Nested,
    "ground_truth": _Compact,
    "target_false": _Flat,
}
"""Each form by the field that only it has."""


def record_fields(entry: object, number: int | None = None) -> dict[str, Any]:
    """The fields of a `Record`, from one entry in any of the forms.

    Args:
        entry: one JSON value.
        number: the case id where the flat form has none, for instance the row.

    Raises:
        FileFormatError: the entry is in none of the forms.
        InputError: a missing or wrong field, each named, or a request that is no fact.
    """
    form = next((FORMS[key] for key in FORMS if isinstance(entry, Mapping) and key in entry), None)
    if form is None or not isinstance(entry, Mapping):
        has = (
            f" with {', '.join(map(str, list(entry)[:5])) or 'nothing'}" if isinstance(entry, Mapping) else ""
        )
        raise FileFormatError(
            f"holds a {type(entry).__name__}{has}: expected a record with requested_rewrite (as in "
            "counterfact.json), ground_truth (the compact form) or target_false (the flat form)"
        )
    if form is _Flat and number is not None and entry.get("case_id") is None:
        entry = {**entry, "case_id": number}
    return _validated(form, entry).fields()


def check_texts(entry: Mapping[str, Any]) -> None:
    """Refuse what a `Record` cannot hold besides its fact; every problem is named in one line.

    Raises:
        InputError: which fields are missing or wrong, and how.
    """
    _validated(_RecordTexts, entry)


M = TypeVar("M", bound=BaseModel)


def _validated(form: type[M], entry: Mapping[str, Any]) -> M:
    """The entry as a `form`; every problem is named in one line.

    Raises:
        InputError: which fields are missing or wrong, and how.
    """
    try:
        # JSON lists are tuples here; everything else has to be of the very type.
        return form.model_validate(_tuples(entry))
    except ValidationError as error:
        raise InputError("; ".join(map(_problem, error.errors(include_url=False)))) from None


def _tuples(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _tuples(part) for name, part in value.items()}
    return tuple(value) if isinstance(value, list) else value


def _problem(found: Any) -> str:
    place = ".".join(str(part) for part in found["loc"]) or "the record"
    if found["type"] == "missing":
        return f"{place} is missing"
    if found["type"] == "value_error":
        return f"{place} {found['ctx']['error']}"
    value = repr(found["input"])
    shown = value if len(value) <= SHOWN else f"{value[:SHOWN]}..."
    return f"{place} is {shown}: {found['msg'][:1].lower()}{found['msg'][1:]}"


def _one(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else (text,)
