"""Token accuracy of answers, against one forward a token; and where its columns show."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from knowedit.editing import FineTuning
from knowedit.errors import FileFormatError, InputError
from knowedit.evaluation import (
    COLUMNS,
    SCORES_VERSION,
    EvaluationJob,
    Record,
    RecordScores,
    Scorer,
    Sweep,
    evaluate,
    load_records,
    make_table,
    run_row,
    score_record,
    summarise,
)
from knowedit.evaluation.records.questions import Question
from knowedit.evaluation.runs.station import EvaluationStation
from knowedit.evaluation.scores import answers
from knowedit.evaluation.scores.answers import Answered, AnswerScores
from knowedit.evaluation.scores.columns import TOKEN_COLUMNS, Column
from tests.evaluation.samples import NESTED, nested
from tests.models.oracles import full_logits

DATA = Path(__file__).parents[1] / "data" / "records"
EDITOR = FineTuning(layer=1, learning_rate=5e-3, max_steps=3)


@pytest.fixture
def record():
    return load_records(DATA / "knowedit_counterfact.json")[0]


def slow(lm, question):
    """The tokens of the answer and the most probable ones, one whole forward each."""
    ids = lm.tokenizer(question.prompt)["input_ids"]
    answer = lm.tokenizer(f"{question.prompt} {question.answers[0]}")["input_ids"][len(ids) :]
    places = range(len(answer))
    return tuple(answer), tuple(int(full_logits(lm, [*ids, *answer[:i]])[-1].argmax()) for i in places)


def share(first, second):
    return sum(a == b for a, b in zip(first, second, strict=True)) / len(first)


@pytest.mark.parametrize("size", [1, 3, 32])
def test_what_is_predicted_at_each_token(family, record, monkeypatch, size):
    monkeypatch.setattr(answers, "BATCH", size)
    scores = score_record(family, record).answers
    asked = [one for one in (*record.locality, *record.portability) if one.answers]
    assert len(asked) == 5  # one has no answer
    for found, question in zip((*scores.locality, *scores.portability), asked, strict=True):
        assert (found.expected, found.given) == slow(family, question)
        assert (found.kind, found.before) == (question.kind, None)
    request = Question("request", record.fact.text, (record.fact.target_new,))
    assert (scores.request.expected, scores.request.given) == slow(family, request)


def test_a_column_is_the_mean_over_prompts_and_then_over_kinds():
    def one(kind, given, before=None):
        return Answered(kind, (1, 2), given, before)

    scores = AnswerScores(
        one("request", (1, 3)),
        (
            one("a", (5, 6), (5, 6)),
            one("a", (5, 6), (6, 5)),
            one("b", (5, 6), (5, 7)),
            one("b", (5, 6), (5, 8)),
        ),
        (one("a", (1, 2)), one("b", (1, 2)), one("b", (1, 0)), one("b", (0, 0))),
    )
    # Loc: a (1 + 0) / 2, b (1/2 + 1/2) / 2. Port: a 1, b (1 + 1/2 + 0) / 3.
    assert scores.columns == {"Acc": 0.5, "Loc": 0.5, "Port": 0.75}
    unasked = AnswerScores(one("request", (1, 2)), (one("a", (1, 2)),))
    assert unasked.columns == {"Acc": 1.0, "Loc": None}


def test_locality_is_agreement_with_the_unedited_model_and_not_with_the_answer(tiny_gpt2, record):
    before = AnswerScores.predictions(tiny_gpt2, record)
    unedited = score_record(tiny_gpt2, record, before=before)
    assert unedited.columns["Loc"] == 1
    assert all(one.accuracy < 1 for one in unedited.answers.locality)
    # Enough of an edit that other tokens are predicted.
    edit = FineTuning(layer=1, learning_rate=0.5, max_steps=5).edit(tiny_gpt2, [record.fact])
    with edit.applied(tiny_gpt2):
        edited = score_record(tiny_gpt2, record, before=before)
        after = AnswerScores.predictions(tiny_gpt2, record)
    values = [share(*pair) for pair in zip(after, before, strict=True)]
    assert edited.columns["Loc"] == pytest.approx(np.mean(values))
    assert edited.columns["Loc"] < 1
    assert score_record(tiny_gpt2, record).columns["Loc"] is None


def test_a_station_asks_the_unedited_model_first(tiny_gpt2, record):
    job = EvaluationJob(tiny_gpt2, replace(EDITOR, learning_rate=0.5))
    (outcome,) = EvaluationStation.of(job, tiny_gpt2).measure([record])
    assert outcome.error is None
    found = RecordScores.from_json(outcome.scores)
    assert tuple(one.before for one in found.answers.locality) == AnswerScores.predictions(tiny_gpt2, record)
    assert found.columns["Loc"] < 1


def test_a_scorer_that_asks_nothing_before_is_called_as_ever(tiny_gpt2, record):
    class Plain:
        identity = None

        def score(self, lm, record, generator):
            return {"case_id": record.case_id}

    job = EvaluationJob(tiny_gpt2, None, scorer=Plain())
    (outcome,) = EvaluationStation.of(job, tiny_gpt2).measure([record])
    assert outcome.scores == {"case_id": 0}


def test_counterfact_has_no_such_columns_and_lines_as_ever(tiny_gpt2):
    record = Record.from_json(NESTED)
    assert Scorer().before(tiny_gpt2, record) is None
    scores = score_record(tiny_gpt2, record)
    assert list(scores.columns) == list(COLUMNS)
    assert set(scores.to_json()) == {
        *("case_id", "probability", "prompt", "paraphrases", "neighbourhood", "texts"),
    }
    assert SCORES_VERSION == 1


def test_scores_written_and_read_are_the_same(tiny_gpt2, record):
    scores = score_record(tiny_gpt2, record, before=AnswerScores.predictions(tiny_gpt2, record))
    again = RecordScores.from_json(json.loads(json.dumps(scores.to_json())))
    assert again.answers == scores.answers
    assert again.columns == scores.columns
    assert list(again.columns) == [*COLUMNS, "Acc", "Loc", "Port"]


@pytest.mark.parametrize(
    "change",
    [
        {"request": []},
        {"locality": [{"kind": "a", "expected": [1], "given": [1, 2]}]},
        {"locality": [{"kind": "a", "expected": [], "given": []}]},
        {"portability": 3},
        {"portability": [{"kind": [], "expected": [1], "given": [1]}]},
        {"portability": [{"kind": "a", "expected": ["x"], "given": [1]}]},
        {"portability": [{"kind": "a", "expected": {"1": 2}, "given": [1]}]},
        {"locality": [{"kind": "a", "expected": [1], "given": [1], "before": None}]},
        {"portability": [{"kind": "a"}]},
    ],
)
def test_damaged_scores_are_refused(tiny_gpt2, record, change):
    entry = score_record(tiny_gpt2, record).to_json()
    entry["answers"] |= change
    with pytest.raises(FileFormatError, match="scores of a record lack or misspell"):
        RecordScores.from_json(entry)


def test_without_a_true_object_only_tokens_are_measured(tiny_gpt2):
    (record,) = load_records(DATA / "knowedit_recent.json")
    columns = score_record(tiny_gpt2, record, before=AnswerScores.predictions(tiny_gpt2, record)).columns
    assert [key for key, value in columns.items() if value is not None] == ["Acc", "Loc", "Port"]


def test_a_prompt_with_a_space_at_its_end_is_asked_without(tiny_gpt2):
    record = replace(Record.from_json(NESTED), locality=(Question("a", "Aldum is in ", ("Norland",)),))
    (found,) = score_record(tiny_gpt2, record).answers.locality
    assert (found.expected, found.given) == slow(tiny_gpt2, Question("a", "Aldum is in", ("Norland",)))


def test_more_columns_change_no_interval(tiny_gpt2, record):
    plain = [score_record(tiny_gpt2, Record.from_json(nested(i))) for i in range(5)]
    more = [replace(one, answers=score_record(tiny_gpt2, record).answers) for one in plain]
    without, found = (summarise(one, np.random.default_rng(3)) for one in (plain, more))
    assert {key: found[key] for key in without} == without
    assert set(found) - set(without) == {"Acc", "Port"}


def test_a_table_has_the_columns_only_where_a_row_has_them(tiny_gpt2, record, tmp_path):
    some = [replace(record, case_id=i) for i in range(2)]
    run = evaluate(tiny_gpt2, EDITOR, some, out=tmp_path / "r")
    row = run_row(run)
    table = make_table([row])
    assert table.keys == (*COLUMNS, *TOKEN_COLUMNS)
    assert "| Essence | Acc | Loc | Port | fails |" in table.markdown()
    head, line = table.csv().splitlines()
    values = dict(zip(head.split(","), line.split(","), strict=True))
    assert float(values["Loc"]) == pytest.approx(row.columns["Loc"].mean, abs=0.005)
    assert "Acc, Loc and Port" in table.legend
    plain = make_table([replace(row, columns={"ES": row.columns["ES"]})])
    assert plain.keys == tuple(COLUMNS)
    assert "Loc" not in plain.markdown() + plain.csv() + plain.legend


def test_the_columns_have_units_and_sources():
    for key, column in TOKEN_COLUMNS.items():
        assert Column.of(key) is column
        assert (column.scaled_unit, column.better, column.in_v1) == ("% of tokens", "higher", False)
        assert "EasyEdit" in column.source or "KnowEdit" in column.source
    with pytest.raises(InputError, match=r"no column 'X': expected some of ES, .*Port"):
        Column.of("X")


def test_a_sweep_refuses_records_that_it_cannot_judge_by(tiny_gpt2, record, tmp_path):
    some = [replace(record, case_id=i) for i in range(2)]
    with pytest.raises(InputError, match="record 0 has no paraphrase and no neighborhood prompt"):
        Sweep(tiny_gpt2, EDITOR, {"max_steps": [1]}, tmp_path / "s", some).run()
    assert not (tmp_path / "s").exists()
