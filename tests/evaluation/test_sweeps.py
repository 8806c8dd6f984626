"""Sweeps: the grid, what a setting gave, and that a folder is resumed, added to, and never mixed."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from statistics import fmean

import pytest

import knowedit
from knowedit.editing import ROME, FineTuning
from knowedit.errors import FileFormatError, InputError
from knowedit.evaluation import TRAIN_FILE, Sweep, best, load_records, read_sweep, score_record
from knowedit.evaluation.runs.sweep_points import LINES, SweepPoint, SweepRow
from knowedit.evaluation.scores.record_scores import Pair, RecordScores
from knowedit.intervals import Interval
from knowedit.runs import MANIFEST, Workers

MODEL = "organism-gptj"
FT = ("ft", {"layer": [0], "learning_rate": [5e-4]})
FT_L = ("ft+l", {"layer": [0], "bound": [2e-3], "learning_rate": [5e-4]})
TOLD = "FT+L layer 0 ε 0.002 rate 0.0005"


@pytest.fixture(scope="module")
def lm():
    return knowedit.load(MODEL)


@pytest.fixture(scope="module")
def records(lm):
    return load_records(lm.folder / TRAIN_FILE)[:3]


@pytest.fixture(scope="module")
def sweep(lm, records):
    """A sweep that is not run yet."""

    def make(what, out, some=records, **options):
        return Sweep(lm, *what, out, some, **options)

    return make


@pytest.fixture(scope="module")
def whole(sweep, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep") / "s"
    return folder, (*sweep(FT, folder).run(), *sweep(FT_L, folder).run())


def copy(folder, out):
    shutil.copytree(folder, out)
    return out, (out / LINES).read_bytes().splitlines(keepends=True)


def test_a_setting_has_the_means_of_its_records(lm, records, whole):
    rows = []
    for record in records:
        with replace(FineTuning.ft(layer=0), learning_rate=5e-4).edit(lm, [record.fact]).applied(lm):
            rows.append(score_record(lm, record).columns)
    found = whole[1][0].row()
    for key in ("ES", "EM", "PS", "PM", "NS", "NM"):
        assert found.columns[key].mean == pytest.approx(100 * fmean(row[key] for row in rows), abs=1e-3)
    assert (found.method, found.layer, found.bound, found.learning_rate, found.n) == ("FT", 0, None, 5e-4, 3)
    assert "GE" not in found.columns


def test_the_bound_is_that_of_the_setting(whole):
    ft, ft_l = whole[1]
    assert ft.settings["bound"] is None
    assert ft_l.settings["bound"] == 2e-3
    assert fmean(ft_l.columns["EM"]) < fmean(ft.columns["EM"])
    assert str(ft_l) == TOLD


def test_what_is_there_is_not_measured_again_and_settings_can_be_added(sweep, whole, tmp_path):
    folder, lines = copy(whole[0], tmp_path / "s")
    (folder / LINES).write_bytes(lines[0] + lines[1][:40])  # stopped while it wrote
    told = []
    found = sweep(FT, folder).run(watch=lambda *now: told.append(now))
    assert told == []
    found += sweep(FT_L, folder).run(watch=lambda *now: told.append(now))
    assert told == [(TOLD, done, 3) for done in range(4)]
    assert (
        SweepPoint.digest(found)
        == SweepPoint.digest(whole[1])
        == SweepPoint.digest(read_sweep(folder)[1][::-1])
    )
    assert sweep(FT_L, folder).run() == (found[1],)
    assert len(read_sweep(folder)[1]) == 2


def test_another_sweep_is_refused_and_the_folder_stays(sweep, records, whole):
    folder = whole[0]
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(InputError, match="records count is 3 there and 2 here"):
        sweep(FT, folder, records[:2]).run()
    with pytest.raises(InputError, match="seed is 0 there and 1 here"):
        sweep(FT, folder, seed=1).run()
    with pytest.raises(InputError, match="1 records are too few"):
        sweep(FT, folder, records[:1]).run()
    other = replace(FineTuning.ft(), max_steps=7)
    with pytest.raises(
        InputError, match=r"FT layer 0 rate 0\.0005 with other settings: max_steps is 25 there and 7"
    ):
        sweep((other, FT[1]), folder).run()
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_damaged_folders(whole, tmp_path):
    with pytest.raises(InputError, match=f"has no {MANIFEST}: expected the folder of a sweep"):
        read_sweep(tmp_path / "none")
    bad, lines = copy(whole[0], tmp_path / "s")
    (bad / LINES).write_bytes(lines[0].replace(b"0.", b"1.", 1) + lines[1])
    with pytest.raises(FileFormatError, match=r"line 1 of .* is not as it was written"):
        read_sweep(bad)


def test_a_digest_is_of_every_value(whole):
    one, other = whole[1]
    changed = replace(one, columns=one.columns | {"NS": (*one.columns["NS"][:-1], 0.123)})
    assert SweepPoint.digest([changed, other]) != SweepPoint.digest([one, other])
    assert SweepPoint.digest([replace(one, seconds=9.0), other]) == SweepPoint.digest([one, other])


def test_workers_find_the_same(whole, records, tmp_path):
    out = tmp_path / "s"
    found = Sweep(MODEL, *FT, out, records).run(workers=Workers(1))
    assert SweepPoint.digest(found) == SweepPoint.digest(whole[1][:1])


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


def test_failed_records_are_kept_with_their_error(sweep, records, tmp_path):
    cases = [record.case_id for record in records]
    (found,) = sweep(FT, tmp_path / "s", scorer=SomeFail((cases[1],))).run()
    assert found.failed == {str(cases[1]): "InputError: no such text"}
    assert found.cases == (cases[0], cases[2])
    assert found.columns == {"ES": (1.0, 1.0), "EM": (0.5, 0.5)}
    with pytest.raises(InputError, match=r"at FT layer 0 rate 0.0005 3 of 3 records failed, .*no such text"):
        sweep(FT, tmp_path / "t", scorer=SomeFail(tuple(cases))).run()


@dataclass(frozen=True)
class Mine:
    """An editor of one's own, of which every field can be varied."""

    strength: float = 1.0
    words: tuple[str, ...] = ()

    def edit(self, lm, facts, *, generator):
        return FineTuning(layer=2, max_steps=1, learning_rate=self.strength * 1e-4).edit(lm, facts)


def test_any_field_of_any_editor_is_varied(sweep, tmp_path):
    scorer = SomeFail(())
    grid = {"strength": [1.0, 2.0], "words": [("a",), ("a", "b")]}
    found = sweep((Mine(), grid), tmp_path / "s", scorer=scorer).run()
    assert [one.setting for one in found] == [
        {"strength": strength, "words": words} for strength in (1.0, 2.0) for words in (("a",), ("a", "b"))
    ]
    assert found[0].settings == {"strength": 1.0, "words": ["a"], "editor": "Mine", "version": 1}
    assert sweep((Mine(), grid), tmp_path / "s", scorer=scorer).run() == read_sweep(tmp_path / "s")[1]
    (rome,) = sweep((ROME.paper(), {"max_steps": [2]}), tmp_path / "s", scorer=scorer).run()
    assert (rome.method, str(rome), rome.settings["layer"]) == ("ROME", "ROME max_steps 2", 2)


def test_a_field_that_an_editor_does_not_have_is_refused(sweep, tmp_path):
    with pytest.raises(InputError, match=r"'bound' is no option of rome, which has"):
        sweep(("rome", {"bound": [1e-3]}), tmp_path / "s").run()
    with pytest.raises(InputError, match="there is no editor 'mend': use one of rome, ft"):
        sweep(("mend", {"layer": [0]}), tmp_path / "s").run()
    with pytest.raises(InputError, match="'layer' is no field of Mine, which has strength, words"):
        sweep((Mine(), {"layer": [0]}), tmp_path / "s").run()
    with pytest.raises(InputError, match="an open model cannot be sent"):
        sweep(FT, tmp_path / "s").run(workers=2)
    assert list(tmp_path.iterdir()) == []


def row(layer, efficacy, generalisation, specificity, method="FT"):
    values = {"ES": efficacy, "PS": generalisation, "NS": specificity}
    columns = {key: Interval(value, value, value, 3) for key, value in values.items()}
    return SweepRow(method, {"layer": layer}, columns, 3)


def test_the_best_has_the_largest_harmonic_mean():
    rows = [row(0, 100, 50, 50), row(1, 60, 60, 60), row(2, 100, 100, 0), row(9, 99, 99, 99, "ROME")]
    assert best(rows, "FT").layer == 0
    assert rows[0].score == pytest.approx(60.0)  # 3 / (1 + 2 + 2)
    assert rows[2].score == 0.0
    assert best([*rows, row(3, 61, 61, 61)], "FT").layer == 3
    with pytest.raises(InputError, match="no row of KE: it has FT"):
        best(rows[:1], "KE")
