"""KnowEdit and EasyEdit: a prompt that is filled in, and locality and portability prompts by kind.

EasyEdit's ``counterfact-edit.json`` (the compact form) has one ``locality_prompt``. Where its answer is the true object
it is a neighborhood prompt, scored as in the paper; any other is a locality prompt of the kind ``neighborhood``.
KnowEdit's wiki_recent has no true object. Its WikiBio calls the fields ``text``, ``labels`` and ``concept``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from pydantic import AliasChoices, Field

from knowedit.evaluation.records.forms.form import Answers, CaseId, Form, Questions, Schema, Text
from knowedit.evaluation.records.questions import Question


class _KnowEdit(Schema):
    case_id: CaseId
    prompt: Text = Field(validation_alias=AliasChoices("prompt", "text"))
    subject: Text = Field(validation_alias=AliasChoices("subject", "concept"))
    target_new: str = Field(validation_alias=AliasChoices("target_new", "labels"))
    ground_truth: Answers = ()
    rephrase_prompt: Answers = Field((), validation_alias=AliasChoices("rephrase_prompt", "rephrase"))
    locality_prompt: Text | None = None
    locality_ground_truth: Answers = ()
    locality: Questions = None
    portability: Questions = None
    relation_id: Text | None = None

    def fields(self) -> dict[str, Any]:
        fact = self.single_edit(self.subject, self.prompt, self.target_new, self.ground_truth)
        return {
            "case_id": self.case_id,
            "fact": replace(fact, relation=self.relation_id),
            "paraphrase_prompts": self.rephrase_prompt or None,
            **self._local(fact.target_true),
            "portability": self.portability,
        }

    def _local(self, true: str | None) -> dict[str, Any]:
        """The one locality prompt: a neighbour, or with the others."""
        if self.locality_prompt is None:
            return {"locality": self.locality}
        if true is not None and self.locality_ground_truth in ((), (true,)):
            return {"neighborhood_prompts": (self.locality_prompt,), "locality": self.locality}
        other = Question("neighborhood", self.locality_prompt, self.locality_ground_truth)
        return {"locality": (other, *(self.locality or ()))}


def _fits(entry: Mapping[str, Any]) -> bool:
    return "ground_truth" in entry or "target_new" in entry or {"labels", "concept"} <= set(entry)


FORM: Final = Form("KnowEdit or EasyEdit", "prompt, subject, target_new and ground_truth", _fits, _KnowEdit)
