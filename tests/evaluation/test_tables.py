"""Tables: what is best, what fails, how numbers are written; and the paper's rows under the same rule."""

from __future__ import annotations

import csv
import io
import sys
from dataclasses import replace

import pytest
import torch

from knowedit.errors import InputError
from knowedit.evaluation import COLUMNS, RecordScores
from knowedit.evaluation.runs.evaluate import run_job
from knowedit.evaluation.runs.paper_table import paper_rows
from knowedit.evaluation.runs.run import Outcome
from knowedit.evaluation.runs.tables import Row, make_table, run_row
from knowedit.evaluation.scores.record_scores import Pair
from knowedit.intervals import Interval
from tests.evaluation.stubs import StubPlan, make_records


def interval(mean, half=1.0):
    return Interval(mean, mean - half, mean + half, 100)


def row(method, group="g", **columns):
    return Row(method, "m", {key: interval(value) for key, value in columns.items()}, 100, group=group)


def marked(*rows):
    return {found.method: found.marks for found in make_table(rows).rows}


def test_the_failures_at_their_bounds():
    unedited = row("none", PS=10.0, NS=78.0)
    assert marked(unedited, row("a", PS=80.0, NS=68.0)) == {"none": (), "a": ()}
    assert marked(unedited, row("a", PS=79.9, NS=68.0))["a"] == ("F1",)
    assert marked(unedited, row("a", PS=80.0, NS=67.9))["a"] == ("F2",)
    assert marked(unedited, row("a", PS=20.0, NS=20.0))["a"] == ("F1", "F2")


def test_bleeding_over_needs_the_unedited_model_of_the_same_group():
    alone, other = row("a", PS=90.0, NS=1.0), row("none", group="other", NS=78.0)
    for rows in ((alone,), (alone, other)):
        found = make_table(rows).rows[0]
        assert found.marks == ()
        assert not found.judged
        assert found.fails == "F2?"
    assert make_table([row("a", NS=1.0)]).rows[0].fails == "F1? F2?"
    judged = make_table([alone, row("none", NS=5.0)]).rows
    assert [found.fails for found in judged] == ["neither", ""]


def test_the_papers_rows_get_the_papers_marks():
    """ROME neither, every other editor at least one; FT only bleeds over, FT+L only does not generalise."""
    xl, j = (marked(*paper_rows(model)) for model in ("gpt2-xl", "gpt-j"))
    assert xl == {
        "none": (),
        "FT": ("F2",),
        "FT+L": ("F1",),
        "KN": ("F1",),
        "KE": ("F1", "F2"),
        "KE-CF": ("F2",),
        "MEND": ("F1", "F2"),
        "MEND-CF": ("F1", "F2"),
        "ROME": (),
    }
    assert j == {"none": (), "FT": ("F2",), "FT+L": ("F1",), "MEND": ("F1", "F2"), "ROME": ()}
    with pytest.raises(InputError, match="gpt2-xl, gpt-j"):
        paper_rows("gpt2")


def test_the_papers_numbers_were_copied_right():
    rows = {found.method: found for found in paper_rows("gpt2-xl")}
    assert rows["ROME"].columns["Essence"].mean == 14.1
    assert rows["KE-CF"].columns["NM"].mean == -63.2
    assert rows["KN"].columns["GE"].low == pytest.approx(568.1)
    assert {found.n for found in paper_rows("gpt-j")} == {2000}
    assert all(
        list(found.columns) == list(COLUMNS) for model in ("gpt2-xl", "gpt-j") for found in paper_rows(model)
    )


def test_the_best_of_the_edited_rows_of_a_group():
    rows = [
        row("none", ES=100.0, Essence=1.0),
        row("a", ES=90.0, Essence=9.0),
        row("b", ES=80.0, Essence=8.0),
        row("c", group="other", ES=99.0),
    ]
    table = make_table(rows)
    best = {(found.method, key) for found in table.rows for key in COLUMNS if table.is_best(found, key)}
    assert best == {("a", "ES"), ("b", "Essence")}


def test_a_method_twice_on_the_same_records_is_refused():
    with pytest.raises(InputError, match="two runs are of a"):
        make_table([row("a"), row("a")])
    make_table([row("a"), row("a", group="other")])


def test_cells():
    def cell(*ends):
        return Row("a", "m", {"ES": Interval(*ends, 9)}, 9).cell("ES")

    assert Row("a", "m", {}, 9).cell("ES") == "–"
    assert cell(74.1, 73.4, 74.8) == "74.1 ±0.7"
    assert cell(99.0, 96.0, 99.5) == "99.0 −3.0 +0.5"
    assert cell(7.0, float("nan"), float("nan")) == "7.0"
    assert Row("a", "m", {}, 1200, failed=3).records == "1,200, 3 failed"
    assert Row("a", "m", {}, 12, missing=2).records == "12 (few), 2 missing"


def test_markdown_and_csv_hold_the_same():
    table = make_table(
        [row("none", PS=10.0, NS=78.0), row("a", PS=70.0, NS=60.5), row("b", PS=95.0, NS=77.0)]
    )
    lines = table.markdown().splitlines()
    assert lines[3] == ("| m | a | – | – | 70.0 ±1.0 | – | 60.5 ±1.0 | – | – | – | – | F1, F2 | 100 |")
    assert "**95.0 ±1.0**" in lines[4]
    assert "PS < 80" in table.markdown()
    found = list(csv.DictReader(io.StringIO(table.csv())))
    assert found[1]["fails"] == "F1, F2"
    assert [float(found[2][name]) for name in ("PS", "PS_low", "PS_high")] == [95.0, 94.0, 96.0]
    assert found[0]["GE"] == ""
    frame = table.to_pandas()
    assert list(frame.columns) == list(found[0])
    assert frame["PS_low"].tolist() == [9.0, 69.0, 94.0]
    assert frame["GE"].isna().all()
    page = table._repr_html_()
    assert "<td><b>95.0 ±1.0</b></td>" in page
    assert page.count("<tr>") == 4


def test_rows_of_one_method_are_told_apart_by_the_settings_that_differ():
    rows = [
        replace(row("FT+L"), settings={"bound": 1e-3, "layer": 3, "seed": 0}),
        replace(row("FT+L"), settings={"bound": 2e-3, "layer": 3, "seed": 0}),
        replace(row("ROME"), settings={"layer": 1}),
    ]
    assert [one.method for one in make_table(rows).rows] == [
        "FT+L (bound 0.001)",
        "FT+L (bound 0.002)",
        "ROME",
    ]
    with pytest.raises(InputError, match="same records and settings"):
        make_table([*rows, rows[0]])


def test_f2_is_judged_on_the_records_that_two_runs_share():
    whole = replace(row("none", NS=50.0), specificity={"a": 90.0, "b": 90.0, "c": 0.0, "d": 20.0})
    some = replace(row("x", group="part", NS=85.0, PS=90.0), n=2, specificity={"a": 85.0, "b": 70.0})
    (_, judged) = make_table([whole, some]).rows
    assert (judged.marks, judged.judged, judged.records) == (("F2",), True, "2 (few)")
    (_, judged) = make_table([whole, replace(some, n=3, specificity={"a": 85.0, "b": 88.0, "e": 0.0})]).rows
    assert (judged.fails, judged.records) == ("neither", "3 (few), F2 by 2")
    (_, judged) = make_table([whole, replace(some, specificity={"e": 0.0})]).rows
    assert judged.fails == "F2?"


def test_names_end_no_cell_and_are_no_formula():
    name = "=1+1|`x`\n<b>\x1b[31m\u202e"
    table = make_table([replace(row("a", PS=1.0), method=name, model=name), row("b", PS=1 / 3)])
    shown = table.markdown().splitlines()
    assert [len(line.replace("\\|", "").split("|")) for line in shown[:4]] == [15] * 4
    assert "<b>" not in table.markdown()
    cells = list(csv.reader(io.StringIO(table.csv())))
    assert cells[1][0] == cells[1][1] == "'" + r"=1+1|`x`\n<b>\x1b[31m\u202e"
    assert cells[2][cells[0].index("PS")] == "0.33"
    for text in (table.markdown(), table.csv(), table._repr_html_()):
        assert text.replace("\n", "").isprintable()


def test_names_are_text_in_a_notebook():
    page = make_table([row("<b>a</b> & c", PS=1.0)])._repr_html_()
    assert "&lt;b&gt;a&lt;/b&gt; &amp; c" in page
    assert "<b>a" not in page


def test_without_pandas_a_data_frame_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(InputError, match="pip install pandas"):
        make_table([row("a", PS=1.0)]).to_pandas()


class Constant(StubPlan):
    """Scores with known means: P[o*] is the case id in hundredths after all prompts."""

    def open(self):
        return _ConstantStation(self)


class _ConstantStation:
    def __init__(self, plan):
        self.plan, self.identity = plan, {"model": "digest", "method": "stub"}

    def measure(self, block, tell):
        return tuple(self.outcome(record) for record in block)

    def outcome(self, record):
        if record.case_id in self.plan.failing:
            return Outcome(record.case_id, None, "InputError: no")
        share = torch.tensor([record.case_id / 100, 0.0], dtype=torch.float64)
        pair = Pair(share, torch.tensor([0.1, 0.1], dtype=torch.float64))
        scores = RecordScores(pair, pair, None, case_id=record.case_id)
        return Outcome(record.case_id, scores.to_json())

    def check(self):
        pass


def test_a_runs_row_has_the_means_of_its_records(tmp_path):
    names = {"model": "M", "method": "stub"}
    run = run_job(Constant(failing=(3,)), make_records(40), tmp_path, names=names)
    found = run_row(run)
    cases = [record.case_id for record in make_records(40) if record.case_id != 3]
    assert (found.method, found.model, found.n, found.failed, found.missing) == ("stub", "M", 39, 1, 0)
    assert found.columns["PS"].mean == pytest.approx(50 * sum(case > 10 for case in cases) / 39)
    assert found.columns["EM"].mean == pytest.approx(sum(case / 2 for case in cases) / 39 - 10)
    assert set(found.columns) == {"ES", "EM", "PS", "PM"}
    assert found.columns["EM"].low < found.columns["EM"].mean < found.columns["EM"].high
    assert run_row(run) == found
    assert run_row(run, seed=1).columns["EM"] != found.columns["EM"]


def test_a_run_without_scores_has_no_row(tmp_path):
    failing = tuple(record.case_id for record in make_records(3))
    run = run_job(Constant(failing=failing), make_records(3), tmp_path)
    with pytest.raises(InputError, match=r"no record of .* was scored \(3 failed\)"):
        run_row(run)
