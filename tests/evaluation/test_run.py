"""A run that is stopped anywhere, and however often, ends with the outcomes of one in peace."""

from __future__ import annotations

import json
import os
import random
from functools import partial
from pathlib import Path

import pytest

from knowedit.errors import FileFormatError, InputError, NumericalError
from knowedit.evaluation.runs.evaluate import chosen_workers, records_identity, run_job
from knowedit.evaluation.runs.run import RECORDS, read_run
from knowedit.evaluation.runs.tables import run_row
from knowedit.runs import MANIFEST, RunFolder, Workers, sealed
from tests.evaluation.stubs import StubPlan, make_records
from tests.runs.kills import kill_at

FAILING = (6, 21)
PLAN = StubPlan(failing=FAILING)
ALL = make_records(40)


def make(out, plan=PLAN, records=ALL, **options):
    """A run that starts or resumes when it is called."""
    return partial(run_job, plan, records, out, **options)


class Stopped(BaseException):
    """Like Ctrl-C: nothing may catch it."""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return make(tmp_path_factory.mktemp("whole") / "run")()


def same(run, undisturbed, block=1):
    assert run.identity == undisturbed.identity | {"block": block}
    assert (run.digest == undisturbed.digest) == (block == 1)
    for found, expected in zip(run.outcomes, undisturbed.outcomes, strict=True):
        assert (found.case_id, found.scores, found.error) == (
            expected.case_id,
            expected.scores,
            expected.error,
        )
    return True


def test_every_record_has_its_line(undisturbed):
    assert [outcome.case_id for outcome in undisturbed.outcomes] == [record.case_id for record in ALL]
    assert [outcome.case_id for outcome in undisturbed.failed] == list(FAILING)
    assert undisturbed.failed[0].error == "InputError: no such subject"
    assert undisturbed.missing == 0
    lines = (undisturbed.path / RECORDS).read_bytes().splitlines()
    assert [json.loads(line)["case_id"] for line in lines] == [record.case_id for record in ALL]


def test_a_finished_run_is_only_read(undisturbed, monkeypatch):
    before = (undisturbed.path / RECORDS).read_bytes()
    monkeypatch.setattr(RunFolder, "append", None)
    assert same(make(undisturbed.path)(), undisturbed)
    assert (undisturbed.path / RECORDS).read_bytes() == before


def test_the_order_of_the_records_changes_nothing(undisturbed, tmp_path):
    shuffled = random.Random(0).sample(ALL, len(ALL))
    assert same(make(tmp_path / "run", records=shuffled)(), undisturbed)


def test_another_seed_has_another_digest(undisturbed, tmp_path):
    other = make(tmp_path / "run", StubPlan(seed=1, failing=FAILING))()
    assert other.digest != undisturbed.digest


# Killed


def test_killed_by_the_system_thirty_times(tmp_path):
    """At random bytes, until it had been killed so often; after each kill it resumes where it was."""
    draw, done = random.Random(4), [0]
    run = make(tmp_path / "run", records=make_records(120))
    for _ in range(30):
        assert kill_at(run, draw.randrange(1, 900)), "all kills have to fall into the run"
        found = read_run(tmp_path / "run")
        assert len(found.outcomes) >= done[-1]
        done.append(len(found.outcomes))
    assert len(set(done)) > 10
    assert found.missing > 0
    expected = make(tmp_path / "whole", records=make_records(120))()
    assert same(run(), expected)


def dies_at_byte(monkeypatch, total):
    """The process dies once so many bytes were written to the file of lines."""
    left, real = total, os.write

    def write(number, data):
        nonlocal left
        if len(data) >= left:
            real(number, bytes(data)[:left])
            raise Stopped
        left -= len(data)
        return real(number, data)

    monkeypatch.setattr(os, "write", write)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("block", [1, 3])
def test_killed_at_any_byte_again_and_again(tmp_path, monkeypatch, undisturbed, seed, block):
    """Also between two records of a block, of which the others are measured again and the first is not doubled."""
    draw, run, stops = random.Random(seed), make(tmp_path / "run", block=block), 0
    while True:
        with monkeypatch.context() as patch:
            dies_at_byte(patch, draw.randrange(1, 900))
            try:
                run()
                break
            except Stopped:
                stops += 1
    assert stops >= 10
    assert same(run(), undisturbed, block)


# Two runs, one folder


def test_a_second_runner_is_refused(tmp_path, undisturbed):
    def second(done, of, outcome):
        if done == 7:
            before = (tmp_path / RECORDS).read_bytes()
            with pytest.raises(InputError, match="another process is writing"):
                make(tmp_path)()
            assert (tmp_path / RECORDS).read_bytes() == before

    assert same(make(tmp_path)(watch=second), undisturbed)


@pytest.mark.parametrize(
    ("plan", "records", "words"),
    [
        (StubPlan(seed=3), ALL, "seed is 0 there and 3 here"),
        (PLAN, ALL[:-1], "records count is 40 there and 39 here; records sha256"),
        (PLAN, make_records(41)[1:], "records sha256 is"),
    ],
)
def test_another_run_is_refused_with_what_differs(tmp_path, plan, records, words):
    make(tmp_path)()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(InputError, match=words):
        make(tmp_path, plan, records)()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


# Bad folders and records


def test_a_line_that_was_changed_is_named(tmp_path):
    make(tmp_path)()
    path = tmp_path / RECORDS
    text = path.read_text()
    at = text.index('"EM":0.', text.index("\n")) + 7  # in the second line
    path.write_text(text[:at] + ("1" if text[at] != "1" else "2") + text[at + 1 :])
    with pytest.raises(FileFormatError, match=r"line 2 of .* is not as it was written"):
        make(tmp_path)()
    with pytest.raises(FileFormatError, match="line 2"):
        read_run(tmp_path)


def test_a_scored_record_twice_is_an_error(tmp_path):
    make(tmp_path)()
    path = tmp_path / RECORDS
    first = path.read_bytes().splitlines(keepends=True)[0]
    for line, words in (
        (first, r"line 41 of .* has the number 1, so it was moved, or is there twice"),
        (sealed({**without_seal(first)}, 41), r"line 41 of .* measures record 0 again"),
    ):
        path.write_bytes(b"".join([*path.read_bytes().splitlines(keepends=True)[:40], line]))
        with pytest.raises(FileFormatError, match=words):
            make(tmp_path)()


def without_seal(line):
    return {name: value for name, value in json.loads(line).items() if name not in ("sha256", "line")}


def test_failed_records_are_measured_again_when_asked(tmp_path, undisturbed):
    run = make(tmp_path)()
    assert same(make(tmp_path)(), undisturbed)
    again = make(tmp_path, StubPlan())(retry=True)
    assert again.failed == ()
    assert again.outcomes[0] == run.outcomes[0]
    assert len((tmp_path / RECORDS).read_bytes().splitlines()) == len(ALL) + len(FAILING)


def test_what_is_no_run_is_left_as_it_is(tmp_path):
    (tmp_path / RECORDS).write_text("mine\n")
    with pytest.raises(InputError, match=f"holds {RECORDS} and no {MANIFEST}"):
        make(tmp_path)()
    assert (tmp_path / RECORDS).read_text() == "mine\n"
    (tmp_path / MANIFEST).write_text("{}")
    with pytest.raises(FileFormatError, match="not the manifest of an evaluation"):
        make(tmp_path)()
    with pytest.raises(InputError, match=f"has no {MANIFEST}"):
        read_run(tmp_path / "nowhere")


def test_a_plan_that_cannot_be_opened_leaves_no_folder(tmp_path):
    with pytest.raises(InputError, match="no model of that name"):
        make(tmp_path / "run", StubPlan(missing=True))()
    assert not (tmp_path / "run").exists()


def test_a_model_that_does_not_come_back_condemns_the_run(tmp_path):
    with pytest.raises(NumericalError, match="is not what it was"):
        make(tmp_path, StubPlan(broken=True))()
    for use in (lambda: read_run(tmp_path), make(tmp_path)):
        with pytest.raises(InputError, match=r"cannot be used: a.weight"):
            use()


def test_records_are_each_there_once():
    with pytest.raises(InputError, match="no record"):
        records_identity([])
    with pytest.raises(InputError, match="case_id 3 is there twice"):
        records_identity([*ALL[:4], ALL[1]])


# Several processes


def test_two_processes_give_the_outcomes_of_one(tmp_path, undisturbed):
    """All records of a block that ends its workers have failed; the others are as they were."""
    plan = StubPlan(failing=FAILING, deadly=(30,), memory=tmp_path)
    found = make(tmp_path / "run", plan, block=3)(workers=Workers(2))
    died = (27, 30, 33)
    for one, expected in zip(found.outcomes, undisturbed.outcomes, strict=True):
        if one.case_id in died:
            assert one.error == "WorkerDied: 2 workers ended while they measured it (exit code -9)"
        else:
            assert (one.scores, one.error) == (expected.scores, expected.error)


def test_no_workers_are_refused():
    with pytest.raises(InputError, match="0 workers"):
        chosen_workers("m", 0)
    assert chosen_workers("m", 1) == Workers(0)
    assert chosen_workers("m", 3) == Workers(3)
    assert chosen_workers("m", 1, "auto", "cuda:0") == Workers(1, ray="auto", gpus=1.0)


# Blocks


def test_the_outcomes_of_blocks_are_those_of_single_records(tmp_path, undisturbed):
    seen = []
    plan = StubPlan(failing=FAILING)
    run = make(tmp_path / "run", plan, block=3)
    found = run(watch=lambda done, of, outcome: seen.append((done, of)))
    assert same(found, undisturbed, block=3)
    assert seen == [(done, len(ALL)) for done in range(len(ALL) + 1)]


def test_a_block_of_which_a_part_is_there_is_measured_again_and_not_doubled(tmp_path, undisturbed):
    make(tmp_path, block=3)()
    lines = (tmp_path / RECORDS).read_bytes().splitlines(keepends=True)
    (tmp_path / RECORDS).write_bytes(b"".join(lines[:4]) + lines[4][:50])
    assert same(make(tmp_path, block=3)(), undisturbed, block=3)
    assert len((tmp_path / RECORDS).read_bytes().splitlines()) == len(ALL)


# How it is shown


def test_a_run_is_shown_in_a_line_and_as_a_data_frame(undisturbed):
    assert "38 scored, 2 failed, 0 missing" in repr(undisturbed)
    assert len(repr(undisturbed)) < 250
    assert "38 scored" in undisturbed._repr_html_()


# Folders of version 0.1.0

OLD = Path(__file__).parents[1] / "data" / "v0.1.0"


def test_runs_of_version_0_1_0_are_read_for_tables():
    run = read_run(OLD / "run-rome")
    assert (run.missing, run.manifest["schema"]) == (0, 1)
    row = run_row(run)
    assert (row.method, row.n) == ("ROME", len(run.scored))
    frame = run.to_pandas()
    assert list(frame.index) == [outcome.case_id for outcome in run.outcomes]
    assert frame["ES"].mean() == pytest.approx(row.columns["ES"].mean)


def test_a_limit_is_no_part_of_a_run(tmp_path):
    """Raised it measures what is missing, lowered it reads the first; each is the run that it alone would have been."""
    records = make_records(9)

    def limited(out, count, block=1):
        told = []
        run = run_job(
            StubPlan(),
            records[:count],
            tmp_path / out,
            more=records[count:],
            block=block,
            watch=lambda done, of, one: told.append(one),
        )
        return run, len(told) - 1

    few, measured = limited("a", 3)
    assert measured == 3
    more, measured = limited("a", 7)
    assert (measured, len(more.outcomes), more.missing) == (4, 7, 0)
    again, measured = limited("a", 3)
    assert (measured, again.digest) == (0, few.digest)
    assert more.digest == limited("b", 7)[0].digest == read_run(tmp_path / "a").digest
    assert len(limited("c", 3, block=2)[0].outcomes) == 3
    assert len(read_run(tmp_path / "c").outcomes) == 4, "a block is measured whole"
    with pytest.raises(InputError, match="belongs to another run: records"):
        run_job(StubPlan(), records[1:5], tmp_path / "a", more=records[5:])
    with pytest.raises(InputError, match="belongs to another run: records"):
        run_job(StubPlan(), records[:3], tmp_path / "a")
