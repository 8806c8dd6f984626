"""One record at a time on a real model: what is drawn, what is put back, what the scores depend on."""

from __future__ import annotations

import builtins
import json
from dataclasses import dataclass, replace
from types import SimpleNamespace

import pytest
import torch

import knowedit
from knowedit.editing import ROME, FineTuning
from knowedit.errors import InputError, NumericalError
from knowedit.evaluation import (
    SCORES_VERSION,
    TEST_FILE,
    EvaluationJob,
    RecordScores,
    Scorer,
    Stale,
    TextScorer,
    TfIdf,
    evaluate,
    load_records,
    read_run,
    score_record,
    verify,
)
from knowedit.evaluation.runs.evaluate import run_job
from knowedit.evaluation.runs.seeds import record_generator
from knowedit.evaluation.runs.station import EvaluationStation
from knowedit.models import fingerprint
from knowedit.runs import Workers

MODEL = "organism-gpt2"


@pytest.fixture(scope="module")
def lm():
    return knowedit.load(MODEL)


@pytest.fixture(scope="module")
def records(lm):
    return load_records(lm.folder / TEST_FILE)[:3]


def station_of(lm, editor, **options):
    return EvaluationStation.of(EvaluationJob(MODEL, editor, **options), lm)


def measure(station, record):
    (outcome,) = station.measure([record])
    return outcome


@pytest.fixture(scope="module")
def rome(lm):
    return station_of(lm, ROME.paper(), seed=5)


def test_the_scores_are_those_of_the_edited_model(lm, records, rome):
    record = records[0]
    generator = record_generator(5, record.case_id)
    edit = ROME.paper().edit(lm, [record.fact], generator=generator)
    with edit.applied(lm):
        expected = score_record(lm, record)
    found = RecordScores.from_json(measure(rome, record).scores)
    assert found.to_json() == expected.to_json()
    assert found.columns["ES"] == 1.0


def test_a_record_does_not_depend_on_those_before_it(records, rome):
    first = [measure(rome, record).scores for record in records]
    assert [measure(rome, record).scores for record in reversed(records)] == first[::-1]
    rome.check()


def test_the_unedited_model_is_a_method(lm, records):
    station = station_of(lm, None)
    expected = score_record(lm, records[1]).to_json()
    assert measure(station, records[1]).scores == expected
    assert station.identity["settings"] == {}


def test_text_is_drawn_by_the_record_and_not_by_the_editor(lm, records, rome):
    """The same draws for every method, so that differences between methods vary less."""
    texts = TextScorer(TfIdf.fit(list(records[0].reference_texts)), new_tokens=5)
    scorer = Scorer(texts=texts)
    station = station_of(lm, None, seed=5, scorer=scorer)
    found = measure(station, records[0]).scores
    generator = record_generator(5, records[0].case_id, "texts")
    assert found == score_record(lm, records[0], scorer, generator=generator).to_json()
    assert measure(station, records[0]).scores == found
    assert station.identity["scores"]["texts"]["tfidf"] == texts.tfidf.digest
    assert station.identity["scores"]["texts"]["new_tokens"] == 5
    without = station_of(lm, None, seed=5, scorer=Scorer(texts=replace(texts, kept=False)))
    dropped = measure(without, records[0]).scores
    assert dropped == found | {"texts": found["texts"] | {"generated": None}}
    assert RecordScores.from_json(dropped).columns == RecordScores.from_json(found).columns
    assert without.identity["scores"] != station.identity["scores"]
    assert RecordScores.from_json(found).columns["GE"] > 0


def test_a_record_that_fails_is_recorded_and_leaves_the_model(lm, records, rome):
    bad = replace(records[0], fact=replace(records[0].fact, prompt="{} plays the " + "very " * 400))
    outcome = measure(rome, bad)
    assert outcome.scores is None
    assert outcome.error.startswith("InputError: ")
    assert "\n" not in outcome.error
    rome.check()


@dataclass(frozen=True)
class Failing:
    error: str

    def edit(self, lm, facts, *, generator):
        raise (getattr(builtins, self.error, None) or getattr(torch, self.error))("now")


@pytest.mark.parametrize("error", [MemoryError, torch.OutOfMemoryError, KeyboardInterrupt])
def test_what_is_not_the_records_fault_is_raised(lm, records, error):
    with pytest.raises(error):
        measure(station_of(lm, Failing(error.__name__)), records[0])


def test_any_other_error_is_the_records(lm, records):
    outcome = measure(station_of(lm, Failing("ZeroDivisionError")), records[0])
    assert outcome.error == "ZeroDivisionError: now"


def test_a_model_that_was_changed_is_found(fresh_lm):
    lm = fresh_lm("gpt2")
    station = station_of(lm, None)
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
    other = station_of(lm, ROME.released_2022_10()).identity
    assert other["settings"]["max_offset"] == 4.0
    tuned = station_of(lm, FineTuning.ft_l(layer=2, bound=1e-3)).identity
    assert (tuned["settings"]["layer"], tuned["settings"]["bound"]) == (2, 1e-3)
    assert identity["settings"]["version"] == ROME.version
    assert identity["scores"]["version"] == SCORES_VERSION


def test_fine_tuning_is_scored_and_taken_out(lm, records):
    station = station_of(lm, FineTuning.ft(layer=3))
    before = score_record(lm, records[0]).columns
    found = RecordScores.from_json(measure(station, records[0]).scores).columns
    assert found["EM"] > before["EM"] + 0.01
    station.check()


def test_a_method_that_the_model_lacks_something_for_fails_before_any_record(fresh_lm):
    with pytest.raises(InputError, match="no layer is known"):
        station_of(fresh_lm("gpt2"), FineTuning.ft())


# Seeds


def test_seeds_depend_on_seed_record_and_use():
    uses = [(seed, case, use) for seed in (0, 1, 11) for case in (0, 1, 11) for use in ("", "texts")]
    assert len({record_generator(*use).initial_seed() for use in uses}) == len(uses)
    assert record_generator(1, 2).initial_seed() == 69552464138222492  # as in version 0.1.0


# Editors of one's own


class Shift:
    """An editor with nothing but `edit`: it adds to a weight, more for longer objects."""

    def edit(self, lm, facts, *, generator):
        return FineTuning(layer=2, max_steps=2, learning_rate=1e-4).edit(lm, facts)


@dataclass(frozen=True)
class Steps:
    """One whose fields are its settings."""

    max_steps: int = 2
    version = 7

    def edit(self, lm, facts, *, generator):
        return FineTuning(layer=2, max_steps=self.max_steps, learning_rate=1e-4).edit(lm, facts)


def test_an_object_with_nothing_but_edit_is_evaluated(lm, records, tmp_path):
    run = evaluate(lm, Shift(), records, out=tmp_path / "here")
    assert (run.failed, run.missing) == ((), 0)
    assert run.identity["method"] == "Shift"
    assert run.identity["settings"] == {"editor": "Shift", "version": 1}
    assert run.manifest["names"] == {"model": MODEL, "method": "Shift", "records": ""}
    own = evaluate(lm, Steps(3), records[:1], out=tmp_path / "steps")
    assert own.identity["settings"] == {"max_steps": 3, "editor": "Steps", "version": 7}
    # In another process: the same, for it can be pickled.
    other = evaluate(MODEL, Shift(), out=tmp_path / "there", limit=3, workers=Workers(1))
    assert [one.scores for one in other.outcomes] == [one.scores for one in run.outcomes]
    assert other.identity == run.identity


def test_an_editor_or_a_model_that_cannot_be_sent_is_refused(lm, records, tmp_path):
    class Local(Shift):
        pass

    with pytest.raises(InputError, match=r"cannot be sent to another process .* at the top of a module"):
        evaluate(MODEL, Local(), records, out=tmp_path / "a", workers=2)
    with pytest.raises(InputError, match="an open model cannot be sent to other processes: give its name"):
        evaluate(lm, Shift(), records, out=tmp_path / "b", workers=2)
    assert list(tmp_path.iterdir()) == []
    assert evaluate(lm, Local(), records[:1], out=tmp_path / "c").scored


def test_one_call_evaluates_an_editor_by_its_name(lm, tmp_path):
    seen = []
    options = {"layer": 3, "bound": 2e-3, "max_steps": 2}
    run = evaluate(
        lm, "ft+l", out=tmp_path / "run", limit=2, watch=lambda *now: seen.append(now[:2]), seed=4, **options
    )
    assert seen == [(0, 2), (1, 2), (2, 2)]
    assert run.identity["method"] == "FT+L"
    assert {name: run.identity["settings"][name] for name in options} == options
    assert (run.identity["seed"], run.identity["block"]) == (4, 1)
    assert run.manifest["names"]["records"] == TEST_FILE
    again = evaluate(lm, "ft+l", out=tmp_path / "run", limit=2, seed=4, **options)
    assert again.digest == run.digest
    with pytest.raises(InputError, match="settings layer is 3 there and 4 here"):
        evaluate(lm, "ft+l", out=tmp_path / "run", limit=2, seed=4, **options | {"layer": 4})


@pytest.mark.parametrize("unedited", [None, "none"])
def test_no_edit_is_none(lm, records, tmp_path, unedited):
    run = evaluate(lm, unedited, records[:1], out=tmp_path / "run", texts=True)
    assert (run.identity["method"], run.identity["settings"]) == ("none", {})
    assert RecordScores.from_json(run.outcomes[0].scores).columns["RS"] is not None


def test_what_cannot_be_evaluated_is_said(lm, records, tmp_path):
    with pytest.raises(InputError, match="there is no editor 'mend': use one of rome, ft"):
        evaluate(lm, "mend", records, out=tmp_path)
    with pytest.raises(
        InputError, match="layer: options of an editor that is given by its name, not of none"
    ):
        evaluate(lm, None, records, out=tmp_path, layer=3)
    with pytest.raises(InputError, match="not of Shift"):
        evaluate(lm, Shift(), records, out=tmp_path, layer=3)
    with pytest.raises(InputError, match=f"mine has no {TEST_FILE}: give records"):
        evaluate("mine", None, out=tmp_path)
    with pytest.raises(InputError, match="no reference texts"):
        evaluate(lm, None, [replace(records[0], reference_texts=None)], out=tmp_path, texts=True)
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_does_not_come_back_condemns_the_run(fresh_lm, records, tmp_path):
    lm = fresh_lm("gpt2")

    class Careless:
        def edit(self, lm, facts, *, generator):
            with torch.no_grad():
                lm.projection(1).weight[0, 0] += 1
            raise ValueError("gave up")

    with pytest.raises(NumericalError, match="is not what it was"):
        evaluate(lm, Careless(), records, out=tmp_path)
    with pytest.raises(InputError, match="cannot be used"):
        read_run(tmp_path)


# Evidence on a real model; with invented scores in test_evidence


@pytest.fixture(scope="module")
def run(records, rome, tmp_path_factory):
    return run_job(SimpleNamespace(open=lambda: rome), records, tmp_path_factory.mktemp("run"))


def test_the_same_again_agrees(run, rome, records):
    found = verify(run, rome, records, sample=2)
    assert (len(found.cases), found.same_texts) == (2, 2)
    assert verify(run, rome, records, 2) == found
    assert len(verify(run, rome, records, 99).cases) == 3


def test_an_editor_of_another_version_makes_evidence_stale(run, records, lm, monkeypatch):
    monkeypatch.setattr(ROME, "version", ROME.version + 1)
    with pytest.raises(Stale, match=r"by version 1 of its settings, and today's is 2: measure again"):
        verify(run, station_of(lm, ROME.paper(), seed=5), records, 1)


def test_an_editor_that_changed_and_not_its_version_is_found(run, records, lm, monkeypatch):
    edit = ROME.edit
    monkeypatch.setattr(
        ROME, "edit", lambda self, *given, **more: edit(replace(self, max_steps=3), *given, **more)
    )
    with pytest.raises(InputError, match=r"record \d+: a probability differs .* raise the version"):
        verify(run, station_of(lm, ROME.paper(), seed=5), records, 3)
