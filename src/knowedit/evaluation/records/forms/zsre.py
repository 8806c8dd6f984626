"""zsRE, the questions of Mitchell et al., as ROME, MEMIT and EasyEdit have them: ``zsre_mend_eval.json`` and its kin.

The edit is from the first of ``answers`` to ``alt``, as in EasyEdit. (ROME's loader asks for the first of ``answers``
as the new object and has no true one.) ``rephrase`` is a paraphrase, and ``loc`` with its "nq question: " in front and
``loc_ans`` a locality prompt of the kind ``neighborhood``, which is what EasyEdit calls it. With ``portability`` it is
EasyEdit's ``zsre_mend_eval_portability_gpt4.json``.
"""

from __future__ import annotations

from typing import Any, Final

from knowedit.evaluation.records.forms.form import Answers, CaseId, Form, Questions, Schema, Text
from knowedit.evaluation.records.questions import Question


class _Zsre(Schema):
    case_id: CaseId
    subject: Text
    src: Text
    alt: str
    answers: Answers
    rephrase: Answers = ()
    loc: Answers = ()
    loc_ans: Answers = ()
    portability: Questions = None

    def fields(self) -> dict[str, Any]:
        return {
            "case_id": self.case_id,
            "fact": self.single_edit(self.subject, self.src, self.alt, self.answers),
            "paraphrase_prompts": tuple(text.rstrip() for text in self.rephrase) or None,
            "locality": tuple(Question("neighborhood", text, self.loc_ans) for text in self.loc) or None,
            "portability": self.portability,
        }


FORM: Final = Form("zsRE", "src, alt and answers", lambda entry: "src" in entry and "alt" in entry, _Zsre)
