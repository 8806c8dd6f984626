"""One record at a time on a real model: what is drawn, what is put back, what the scores depend on."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

import pytest
import torch

import knowedit
from knowedit.editing import ROME, FineTuning
from knowedit.errors import InputError, NumericalError
from knowedit.evaluation import (
    TEST_FILE,
    RecordScores,
    Scorer,
    TextScorer,
    TfIdf,
    load_records,
    score_record,
)
from knowedit.evaluation.runs.code_digest import _bare, code_digest, code_modules
from knowedit.evaluation.runs.evaluate import EvaluationRun
from knowedit.evaluation.runs.evidence import is_stale, verify
from knowedit.evaluation.runs.executors import InProcess
from knowedit.evaluation.runs.job import EditingPlan
from knowedit.evaluation.runs.methods import Plain, Prepared, Unedited
from knowedit.evaluation.runs.rome_method import RomeMethod
from knowedit.evaluation.runs.seeds import record_generator, record_seed
from knowedit.models import fingerprint

MODEL = "organism-gpt2"


@pytest.fixture(scope="module")
def lm():
    return knowedit.load(MODEL)


@pytest.fixture(scope="module")
def records(lm):
    return load_records(lm.folder / TEST_FILE)[:3]


@pytest.fixture(scope="module")
def rome(lm):
    return EditingPlan(MODEL, RomeMethod(), seed=5).on(lm)


def test_the_scores_are_those_of_the_edited_model(lm, records, rome):
    record = records[0]
    generator = torch.Generator().manual_seed(record_seed(5, record.case_id))
    edit = ROME.paper().edit(lm, [record.fact], generator=generator)
    with edit.applied(lm):
        expected = score_record(lm, record)
    found = RecordScores.from_json(rome.measure(record).scores)
    assert found.to_json() == expected.to_json()
    assert found.columns["ES"] == 1.0


def test_a_record_does_not_depend_on_those_before_it(records, rome):
    first = [rome.measure(record).scores for record in records]
    assert [rome.measure(record).scores for record in reversed(records)] == first[::-1]
    rome.check()


def test_the_unedited_model_is_a_method(lm, records):
    station = EditingPlan(MODEL, Unedited()).on(lm)
    expected = score_record(lm, records[1]).to_json()
    assert station.measure(records[1]).scores == expected
    assert station.identity["settings"] == {}


def test_text_is_drawn_by_the_record_and_not_by_the_editor(lm, records, rome):
    """The same draws for every method, so that differences between methods vary less."""
    texts = TextScorer(TfIdf.fit(list(records[0].reference_texts)), new_tokens=5)
    plan = EditingPlan(MODEL, Unedited(), 5, Scorer(texts=texts))
    station = plan.on(lm)
    found = station.measure(records[0]).scores
    generator = record_generator(5, records[0].case_id, "texts")
    assert found == score_record(lm, records[0], plan.scorer, generator=generator).to_json()
    assert station.measure(records[0]).scores == found
    assert station.identity["scores"]["texts"]["tfidf"] == texts.tfidf.digest
    assert station.identity["scores"]["texts"]["new_tokens"] == 5
    without = replace(plan, scorer=Scorer(texts=replace(texts, kept=False))).on(lm)
    dropped = without.measure(records[0]).scores
    assert dropped == found | {"texts": found["texts"] | {"generated": None}}
    assert RecordScores.from_json(dropped).columns == RecordScores.from_json(found).columns
    assert without.identity["scores"] != station.identity["scores"]
    assert RecordScores.from_json(found).columns["GE"] > 0


def test_a_record_that_fails_is_recorded_and_leaves_the_model(lm, records, rome):
    bad = replace(records[0], fact=replace(records[0].fact, prompt="{} plays the " + "very " * 400))
    outcome = rome.measure(bad)
    assert outcome.scores is None
    assert outcome.error.startswith("InputError: ")
    assert "\n" not in outcome.error
    rome.check()


@dataclass(frozen=True)
class Failing:
    error: type[BaseException]
    label: str = "failing"
    sources: tuple[str, ...] = ()

    def prepare(self, lm):
        def make(fact, generator):
            raise self.error("now")

        return Prepared(make, {})


@pytest.mark.parametrize("error", [MemoryError, torch.OutOfMemoryError, KeyboardInterrupt])
def test_what_is_not_the_records_fault_is_raised(lm, records, error):
    with pytest.raises(error):
        EditingPlan(MODEL, Failing(error)).on(lm).measure(records[0])


def test_any_other_error_is_the_records(lm, records):
    outcome = EditingPlan(MODEL, Failing(ZeroDivisionError)).on(lm).measure(records[0])
    assert outcome.error == "ZeroDivisionError: now"


def test_a_model_that_was_changed_is_found(fresh_lm):
    lm = fresh_lm("gpt2")
    station = EditingPlan("tiny", Unedited()).on(lm)
    station.check()
    lm.projection(1).weight.data[0, 0] += 1
    with pytest.raises(NumericalError, match=r"h\.1\.mlp\.c_proj\.weight is not what it was"):
        station.check()


def test_everything_the_scores_depend_on_is_in_the_identity(lm, rome):
    identity = rome.identity
    json.dumps(identity)
    assert identity["model"] == fingerprint(lm).digest
    assert (identity["method"], identity["seed"], identity["dtype"]) == ("ROME", 5, "float32")
    assert identity["settings"]["layer"] == 5
    assert len(identity["settings"]["statistics"]["sha256"]) == 64
    other = EditingPlan(MODEL, RomeMethod(ROME.released_2022_10())).on(lm).identity
    assert other["settings"]["max_offset"] == 4.0
    tuned = EditingPlan(MODEL, Plain(FineTuning.ft_l(layer=2, bound=1e-3), "FT+L")).on(lm).identity
    assert (tuned["settings"]["layer"], tuned["settings"]["bound"]) == (2, 1e-3)
    assert tuned["code"] != identity["code"]


def test_fine_tuning_is_scored_and_taken_out(lm, records):
    station = EditingPlan(MODEL, Plain(FineTuning.ft(layer=3), "FT")).on(lm)
    before = score_record(lm, records[0]).columns
    found = RecordScores.from_json(station.measure(records[0]).scores).columns
    assert found["EM"] > before["EM"] + 0.01
    station.check()


def test_a_method_that_the_model_lacks_something_for_fails_before_any_record(fresh_lm):
    with pytest.raises(InputError, match="no layer is known"):
        EditingPlan("tiny", Plain(FineTuning.ft(), "FT")).on(fresh_lm("gpt2"))


# Seeds


def test_seeds_depend_on_seed_record_and_use():
    uses = [(seed, case, use) for seed in (0, 1, 11) for case in (0, 1, 11) for use in ("", "texts")]
    assert len({record_seed(*use) for use in uses}) == len(uses)
    assert record_generator(1, 2).initial_seed() == record_seed(1, 2)


# Evidence


@pytest.fixture(scope="module")
def run(lm, records, rome, tmp_path_factory):
    return EvaluationRun(rome.plan, records, tmp_path_factory.mktemp("run")).gather(InProcess(rome))


def test_the_same_again_agrees(run, rome, records):
    found = verify(run, rome, records, sample=2)
    assert len(found.cases) == 2
    assert set(found.largest.values()) == {0.0}
    assert found.agrees(0.0)
    assert verify(run, rome, records, 2) == found
    assert len(verify(run, rome, records, 99).cases) == 3
    assert not is_stale(run, rome)
    assert [was.case_id for was, _ in found.pairs] == [now.case_id for _, now in found.pairs]
    assert sorted(was.case_id for was, _ in found.pairs) == list(found.cases)
    seen = []
    verify(run, rome, records, 2, watch=lambda done, of: seen.append((done, of)))
    assert seen == [(1, 2), (2, 2)]


def test_other_scores_and_failures_do_not_agree(run, rome, records):
    scores = json.loads(json.dumps(run.outcomes[0].scores))
    scores["prompt"]["new"][0] -= 0.01
    forged = replace(run, outcomes=(replace(run.outcomes[0], scores=scores), *run.outcomes[1:]))
    found = verify(forged, rome, records, sample=3)
    assert found.largest["EM"] == pytest.approx(0.01)
    assert found.agrees(0.02)
    assert not found.agrees(0.005)
    failed = replace(run, outcomes=(replace(run.outcomes[0], scores=None, error="x"), *run.outcomes[1:]))
    assert verify(failed, rome, records, 3).failures == (run.outcomes[0].case_id,)
    assert not verify(failed, rome, records, 3).agrees(1.0)


def test_another_question_is_refused(run, rome, records, lm):
    with pytest.raises(InputError, match="not the records"):
        verify(run, rome, records[:2], 1)
    with pytest.raises(InputError, match="another seed"):
        verify(run, EditingPlan(MODEL, RomeMethod(), seed=6).on(lm), records, 1)


def test_evidence_of_other_code_is_stale(run, rome):
    old = replace(run, manifest=run.manifest | {"run": run.identity | {"code": "0" * 64}})
    assert is_stale(old, rome)


def test_the_code_of_an_editor_is_all_that_it_imports_and_no_more():
    rome = code_modules(["knowedit.editing.rome.rome"])
    assert {"knowedit.editing.rome.values", "knowedit.linalg.insert", "knowedit.models.forwards"} <= set(rome)
    assert not {"knowedit.editing.fine_tuning.fine_tuning", "knowedit.editing.statistics.run"} & set(rome)
    assert not [name for name in rome if name.startswith("knowedit.tracing")]
    assert code_digest(["knowedit.editing.rome.rome"]) != code_digest(
        ["knowedit.editing.fine_tuning.fine_tuning"]
    )
    assert code_modules(["torch", "tests.evaluation.stubs"]) == []


def test_comments_and_docstrings_are_no_code():
    source = (
        '"""Doc."""\n\n# why\ndef f(x):  # what\n    """Doc\n    more."""\n    return "# no comment"  # end\n'
    )
    assert _bare(source) == 'def f(x):\n    return "# no comment"'
    assert _bare(source) == _bare(source.replace("why", "because").replace("more", "less"))
    assert _bare(source) != _bare(source.replace("no comment", "text"))
