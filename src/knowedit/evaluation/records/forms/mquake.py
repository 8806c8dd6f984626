"""MQuAKE: a list of edits with multi-hop questions; records that ask for one edit are read.

The published files have ``MQuAKE-CF``, ``MQuAKE-CF-3k`` and ``MQuAKE-T`` in their names. What is made of a record:

- the question form of the request is a paraphrase;
- ``questions`` with ``new_answer`` and its aliases are portability prompts of the kind ``multi_hop``;
- of ``new_single_hops`` those that are not the edit itself are facts that the edit leaves as they are: locality prompts
  of the kind ``single_hop``. MQuAKE's own scores count them otherwise.
"""

from __future__ import annotations

from typing import Any, Final

from knowedit.evaluation.records.forms.counterfact import FORM as COUNTERFACT
from knowedit.evaluation.records.forms.form import (
    Answers,
    CaseId,
    Form,
    NoSingleEdit,
    Schema,
    Text,
    Texts,
)
from knowedit.evaluation.records.questions import Question


class _Hop(Schema):
    question: Text
    answer: Answers
    answer_alias: Answers = ()


class _MQuake(Schema):
    case_id: CaseId
    requested_rewrite: tuple[dict[str, Any], ...]
    questions: Texts = None
    new_answer: Answers = ()
    new_answer_alias: Answers = ()
    new_single_hops: tuple[_Hop, ...] = ()

    def fields(self) -> dict[str, Any]:
        if len(self.requested_rewrite) != 1:
            raise NoSingleEdit(
                "it asks for another number of edits than one", str(len(self.requested_rewrite))
            )
        request = self.requested_rewrite[0]
        found = COUNTERFACT.schema.checked({"case_id": self.case_id, "requested_rewrite": request}).fields()
        question, answers = request.get("question"), (*self.new_answer, *self.new_answer_alias)
        return found | {
            "paraphrase_prompts": None if question is None else (question,),
            "portability": tuple(Question("multi_hop", text, answers) for text in self.questions or ())
            or None,
            "locality": tuple(
                Question("single_hop", hop.question, (*hop.answer, *hop.answer_alias))
                for hop in self.new_single_hops
                if hop.question != question
            )
            or None,
        }


FORM: Final = Form(
    "MQuAKE",
    "a list as requested_rewrite",
    lambda entry: isinstance(entry.get("requested_rewrite"), list | tuple),
    _MQuake,
)
