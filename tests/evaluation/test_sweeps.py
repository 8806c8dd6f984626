"""Sweeps: the sweep_grid, what a point says, and that a file is gone on with, added to, and never mixed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from statistics import fmean

import pytest

import knowedit
from knowedit.editing import FineTuning
from knowedit.errors import FileFormatError, InputError
from knowedit.evaluation import TRAIN_FILE, load_records, score_record
from knowedit.evaluation.runs.executors import InProcess
from knowedit.evaluation.runs.job import EditingPlan
from knowedit.evaluation.runs.methods import Unedited
from knowedit.evaluation.runs.sweep import Sweep, SweepPoint, read_sweep, sweep_digest, sweep_grid
from knowedit.evaluation.runs.sweep_rows import SweepRow, best
from knowedit.evaluation.scores.record_scores import Pair, RecordScores
from knowedit.intervals import Interval

MODEL = "organism-gptj"
PLAN = EditingPlan(MODEL, Unedited())
FT = SweepPoint("FT", 0, None, 5e-4)
FT_L = SweepPoint("FT+L", 0, 2e-3, 5e-4)


@pytest.fixture(scope="module")
def lm():
    return knowedit.load(MODEL)


@pytest.fixture(scope="module")
def records(lm):
    return load_records(lm.folder / TRAIN_FILE)[:3]


@pytest.fixture(scope="module")
def here(lm):
    return lambda plan: InProcess(plan.on(lm))


@pytest.fixture(scope="module")
def whole(here, records, tmp_path_factory):
    file = tmp_path_factory.mktemp("sweep") / "s.jsonl"
    return file, Sweep(PLAN, [FT, FT_L], records, file).gather(here)


def test_a_point_has_the_means_of_its_records(lm, records, whole):
    rows = []
    for record in records:
        with replace(FineTuning.ft(layer=0), learning_rate=5e-4).edit(lm, [record.fact]).applied(lm):
            rows.append(score_record(lm, record).columns)
    found = whole[1][0].row()
    for key in ("ES", "EM", "PS", "PM", "NS", "NM"):
        assert found.columns[key].mean == pytest.approx(100 * fmean(row[key] for row in rows), abs=1e-3)
    assert (found.method, found.layer, found.bound, found.learning_rate, found.n) == ("FT", 0, None, 5e-4, 3)
    assert "GE" not in found.columns


def test_the_bound_is_that_of_the_point(whole):
    ft, ft_l = whole[1]
    assert ft.identity["settings"]["bound"] is None
    assert ft_l.identity["settings"]["bound"] == 2e-3
    assert fmean(ft_l.columns["EM"]) < fmean(ft.columns["EM"])


def test_what_is_there_is_not_measured_again_and_points_can_be_added(here, records, whole, tmp_path):
    file = tmp_path / "s.jsonl"
    lines = whole[0].read_bytes().splitlines(keepends=True)
    file.write_bytes(lines[0] + lines[1][:40])  # stopped while it wrote
    told = []
    found = Sweep(PLAN, [FT, FT_L], records, file).gather(here, watch=lambda *now: told.append(now))
    assert {point for point, _, _ in told} == {FT_L}
    assert told[-1] == (FT_L, 3, 3)
    assert sweep_digest(found) == sweep_digest(whole[1]) == sweep_digest(read_sweep(file)[::-1])
    assert Sweep(PLAN, [FT_L], records, file).gather(here) == (found[1],)
    assert len(read_sweep(file)) == 2


def test_another_sweep_is_refused_and_the_file_stays(here, records, whole):
    file = whole[0]
    before = file.read_bytes()
    with pytest.raises(InputError, match="records count is 3 there and 2 here"):
        Sweep(PLAN, [FT], records[:2], file).gather(here)
    with pytest.raises(InputError, match="seed is 0 there and 1 here"):
        Sweep(replace(PLAN, seed=1), [FT], records, file).gather(here)
    with pytest.raises(InputError, match="1 records are too few"):
        Sweep(PLAN, [FT], records[:1], file).gather(here)
    assert file.read_bytes() == before


def test_damaged_files(whole, tmp_path):
    with pytest.raises(InputError, match=r"no file .*none\.jsonl"):
        read_sweep(tmp_path / "none.jsonl")
    bad = tmp_path / "s.jsonl"
    lines = whole[0].read_bytes().splitlines(keepends=True)
    bad.write_bytes(lines[0].replace(b"0.", b"1.", 1) + lines[1])
    with pytest.raises(FileFormatError, match=r"line 1 of .* is not as it was written"):
        read_sweep(bad)


def test_a_digest_is_of_every_value(whole):
    one, other = whole[1]
    changed = replace(one, columns=one.columns | {"NS": (*one.columns["NS"][:-1], 0.123)})
    assert sweep_digest([changed, other]) != sweep_digest([one, other])
    assert sweep_digest([replace(one, seconds=9.0), other]) == sweep_digest([one, other])


@dataclass(frozen=True)
class SomeFail:
    """A scorer that fails on some records."""

    failing: tuple[int, ...]
    identity: str = "half"

    def score(self, lm, record, generator):
        if record.case_id in self.failing:
            raise InputError("no such text")
        pair = Pair.from_json({"new": [0.75], "true": [0.25]})
        return RecordScores(pair, None, None, case_id=record.case_id).to_json()


def test_failed_records_are_kept_with_their_error(here, records, tmp_path):
    cases = [record.case_id for record in records]
    plan = replace(PLAN, scorer=SomeFail((cases[1],)))
    (found,) = Sweep(plan, [FT], records, tmp_path / "s.jsonl").gather(here)
    assert found.failed == {str(cases[1]): "InputError: no such text"}
    assert found.cases == (cases[0], cases[2])
    assert found.columns == {"ES": (1.0, 1.0), "EM": (0.5, 0.5)}
    plan = replace(PLAN, scorer=SomeFail(tuple(cases)))
    with pytest.raises(InputError, match=r"at FT layer 0 rate 0.0005 3 of 3 records failed, .*no such text"):
        Sweep(plan, [FT], records, tmp_path / "t.jsonl").gather(here)


def test_the_grid_has_bounds_and_rates_where_they_belong():
    found = sweep_grid(["FT", "FT+L", "ROME"], [0, 3], [1e-3, 2e-3], [5e-4])
    assert len(found) == 2 * (1 + 2 + 1)
    assert found[:2] == [SweepPoint("FT", 0, None, 5e-4), SweepPoint("FT", 3, None, 5e-4)]
    assert SweepPoint("FT+L", 3, 2e-3, 5e-4) in found
    assert found[-1] == SweepPoint("ROME", 3)
    with pytest.raises(InputError, match="no sweep of 'MEND': use one of FT, FT\\+L, AttnEdit, ROME"):
        sweep_grid(["MEND"], [0], [], [])
    with pytest.raises(InputError, match="no sweep of 'KN'"):
        SweepPoint("KN", 0).editing()


def row(layer, efficacy, generalisation, specificity, method="FT"):
    values = {"ES": efficacy, "PS": generalisation, "NS": specificity}
    columns = {key: Interval(value, value, value, 3) for key, value in values.items()}
    return SweepRow(method, layer, None, None, columns, 3)


def test_the_best_has_the_largest_harmonic_mean():
    rows = [row(0, 100, 50, 50), row(1, 60, 60, 60), row(2, 100, 100, 0), row(9, 99, 99, 99, "ROME")]
    assert best(rows, "FT").layer == 0
    assert rows[0].score == pytest.approx(60.0)  # 3 / (1 + 2 + 2)
    assert rows[2].score == 0.0
    assert best([*rows, row(3, 61, 61, 61)], "FT").layer == 3
    with pytest.raises(InputError, match="no row of KE: it has FT"):
        best(rows[:1], "KE")
