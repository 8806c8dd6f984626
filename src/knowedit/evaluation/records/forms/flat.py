"""A fact alone, one a row, as copies for tracing have it."""

from __future__ import annotations

from typing import Any, Final

from knowedit.evaluation.records.forms.form import CaseId, Form, Schema, Text
from knowedit.facts import Fact, template_of


class _Flat(Schema):
    """Spaces before objects and subjects belong to the tokenizer and are taken away."""

    case_id: CaseId
    prompt: Text
    subject: Text
    target_true: Text
    target_false: Text
    relation_id: Text | None = None

    def fields(self) -> dict[str, Any]:
        subject = self.subject.strip()
        template = template_of(self.prompt.strip(), subject)
        fact = Fact(subject, template, self.target_false.strip(), self.target_true.strip(), self.relation_id)
        return {"case_id": self.case_id, "fact": fact}


FORM: Final = Form("flat", "target_true and target_false", lambda entry: "target_false" in entry, _Flat)
