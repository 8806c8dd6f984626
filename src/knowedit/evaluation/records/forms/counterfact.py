"""COUNTERFACT: the official ``counterfact.json``, its copies on the Hub, MEMIT's multi_counterfact, the organisms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic import AliasChoices, Field

from knowedit.evaluation.records.forms.form import CaseId, Form, Questions, Schema, Text, Texts
from knowedit.facts import Fact


class _RecordTexts(Schema):
    """What a `Record` holds besides its fact."""

    case_id: CaseId
    paraphrase_prompts: Texts = None
    neighborhood_prompts: Texts = None
    generation_prompts: Texts = None
    reference_texts: Texts = None
    essence_texts: Texts = None
    locality: Questions = None
    portability: Questions = None


class _Object(Schema):
    """An object, as this form has it."""

    str_: Text = Field(alias="str")


class _Request(Schema):
    """The request; Figure 22 calls the subject ``entity``. A record without a true object says so by a null."""

    prompt: Text
    subject: Text = Field(validation_alias=AliasChoices("subject", "entity"))
    target_new: _Object
    target_true: _Object | None
    relation_id: Text | None = None


class _Counterfact(_RecordTexts):
    """What a source lacks is None, which is not the same as an empty list."""

    requested_rewrite: _Request

    def fields(self) -> dict[str, Any]:
        asked = self.requested_rewrite
        true = None if asked.target_true is None else asked.target_true.str_
        fact = Fact(asked.subject, asked.prompt, asked.target_new.str_, true, asked.relation_id)
        return {"fact": fact} | {name: getattr(self, name) for name in _RecordTexts.model_fields}


FORM: Final = Form(
    "COUNTERFACT",
    "requested_rewrite",
    lambda entry: "requested_rewrite" in entry,
    _Counterfact,
    numbered=False,
)


def check_texts(entry: Mapping[str, Any]) -> None:
    """Refuse what a `Record` cannot hold besides its fact; every problem is named in one line.

    Raises:
        InputError: which fields are missing or wrong, and how.
    """
    _RecordTexts.checked(entry)
