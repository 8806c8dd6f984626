"""A run that is stopped anywhere, and however often, ends with the outcomes of one in peace."""

from __future__ import annotations

import json
import os
import random
import signal
import time

import pytest

from knowedit.errors import FileFormatError, InputError, NumericalError
from knowedit.evaluation.runs.evaluate import EvaluationRun, records_identity
from knowedit.evaluation.runs.executors import DEATHS
from knowedit.evaluation.runs.folder import ADVICE, RECORDS, RunFolder, read_run
from knowedit.evaluation.runs.processes import Processes
from knowedit.runs import MANIFEST, read_lines, sealed, unsealed
from tests.evaluation.stubs import StubPlan, make_records

FAILING = (6, 21)
PLAN = StubPlan(failing=FAILING)
ALL = make_records(40)


def make(out, plan=PLAN, records=ALL):
    return EvaluationRun(plan, records, out)


class Stopped(BaseException):
    """Like Ctrl-C: nothing may catch it."""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return make(tmp_path_factory.mktemp("whole") / "run").gather()


def same(run, undisturbed):
    assert run.digest == undisturbed.digest
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
    assert same(make(undisturbed.path).gather(), undisturbed)
    assert (undisturbed.path / RECORDS).read_bytes() == before


def test_the_order_of_the_records_changes_nothing(undisturbed, tmp_path):
    shuffled = random.Random(0).sample(ALL, len(ALL))
    assert same(make(tmp_path / "run", records=shuffled).gather(), undisturbed)


def test_another_seed_has_another_digest(undisturbed, tmp_path):
    other = make(tmp_path / "run", StubPlan(seed=1, failing=FAILING)).gather()
    assert other.digest != undisturbed.digest


# Killed


def kill_after(run, lines, seconds):
    """Start the run in a process of its own and kill it some time after it added so many lines.

    Returns whether it was still running. It waits for lines and not for a time, as a process begins sooner or later.
    """
    path, child = run.out / RECORDS, os.fork()
    if child == 0:
        try:
            run.gather()
        finally:
            os._exit(0)
    before = path.read_bytes().count(b"\n") if path.exists() else 0
    while lines and (not path.exists() or path.read_bytes().count(b"\n") < before + lines):
        time.sleep(0.001)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def test_killed_by_the_system_thirty_times(tmp_path):
    """At random moments, until it had been killed so often; after each kill it goes on from where it was."""
    draw = random.Random(4)
    run = make(tmp_path / "run", StubPlan(failing=FAILING, seconds=0.004), make_records(300))
    kills, done = 0, [0]
    while kills < 30:
        assert kill_after(run, draw.randrange(5), draw.uniform(0.003, 0.008))
        kills += 1
        if (tmp_path / "run" / MANIFEST).exists():
            found = read_run(tmp_path / "run")
            assert len(found.outcomes) >= done[-1]
            done.append(len(found.outcomes))
    assert len(set(done)) > 10
    assert found.missing > 0, "all kills have to fall into the run"
    expected = make(tmp_path / "whole", StubPlan(failing=FAILING), make_records(300)).gather()
    assert same(run.gather(), expected)


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
def test_killed_at_any_byte_again_and_again(tmp_path, monkeypatch, undisturbed, seed):
    draw, run, stops = random.Random(seed), make(tmp_path / "run"), 0
    while True:
        with monkeypatch.context() as patch:
            dies_at_byte(patch, draw.randrange(1, 900))
            try:
                run.gather()
                break
            except Stopped:
                stops += 1
    assert stops >= 10
    assert same(run.gather(), undisturbed)


def test_cut_at_every_byte_of_the_last_lines(tmp_path, undisturbed):
    whole = (undisturbed.path / RECORDS).read_bytes()
    folder = tmp_path / "run"
    make(folder).gather()
    begin = len(whole) - len(b"".join(whole.splitlines(keepends=True)[-2:]))
    for size in range(begin, len(whole)):
        (folder / RECORDS).write_bytes(whole[:size])
        full = whole[:size].count(b"\n")
        assert read_run(folder).missing == len(ALL) - full
        if size % 9 == 0:
            assert same(make(folder).gather(), undisturbed)


def test_zeros_where_the_last_line_should_be_are_dropped(tmp_path, undisturbed):
    make(tmp_path / "run").gather()
    path = tmp_path / "run" / RECORDS
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-1]) + bytes(len(lines[-1])))
    assert same(make(tmp_path / "run").gather(), undisturbed)


def test_killed_between_the_manifest_and_its_place(tmp_path, undisturbed):
    (tmp_path / f".{MANIFEST}.0123456789abcdef.tmp").write_text("{")
    assert same(make(tmp_path).gather(), undisturbed)
    assert {path.name for path in tmp_path.iterdir()} == {MANIFEST, RECORDS}


# A disk that is full


@pytest.mark.parametrize("nth", [1, 2, 17, 40])
def test_a_full_disk_is_said_and_nothing_is_lost(tmp_path, monkeypatch, undisturbed, nth):
    writes, real = 0, os.write

    def write(number, data):
        nonlocal writes
        writes += 1
        if writes >= nth:
            if writes == nth:
                return real(number, bytes(data)[:20])
            raise OSError(28, "No space left on device")
        return real(number, data)

    run = make(tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", write)
        with pytest.raises(InputError, match=r"No space left on device.*lines before are safe; make room"):
            run.gather()
    lines = (tmp_path / "run" / RECORDS).read_bytes()
    assert lines.count(b"\n") == nth - 1
    assert not lines or lines.endswith(b"\n")
    assert same(run.gather(), undisturbed)


def test_a_disk_that_is_full_for_the_manifest_leaves_nothing(tmp_path, monkeypatch):
    def fsync(number):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        with pytest.raises(InputError, match="No space left"):
            make(tmp_path / "run").gather()
    assert not (tmp_path / "run").exists()


# Two runs, one folder


def test_a_second_runner_is_refused(tmp_path, undisturbed):
    def second(done, of, outcome):
        if done == 7:
            before = (tmp_path / RECORDS).read_bytes()
            with pytest.raises(InputError, match="another process is writing"):
                make(tmp_path).gather()
            assert (tmp_path / RECORDS).read_bytes() == before

    assert same(make(tmp_path).gather(watch=second), undisturbed)


def test_another_process_is_refused_and_the_lock_dies_with_its_holder(tmp_path, undisturbed):
    run = make(tmp_path / "run", StubPlan(failing=FAILING, seconds=0.05))
    child = os.fork()
    if child == 0:
        try:
            run.gather()
        finally:
            os._exit(0)
    while not (tmp_path / "run" / MANIFEST).exists():
        time.sleep(0.005)
    with pytest.raises(InputError, match="another process is writing"):
        make(tmp_path / "run").gather()
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert same(make(tmp_path / "run").gather(), undisturbed)


@pytest.mark.parametrize(
    ("plan", "records", "words"),
    [
        (StubPlan(seed=3), ALL, "seed is 0 there and 3 here"),
        (PLAN, ALL[:-1], "records count is 40 there and 39 here; records sha256"),
        (PLAN, make_records(41)[1:], "records sha256 is"),
    ],
)
def test_another_run_is_refused_with_what_differs(tmp_path, plan, records, words):
    make(tmp_path).gather()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(InputError, match=words):
        make(tmp_path, plan, records).gather()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


# Bad folders and records


def test_a_line_that_was_changed_is_named(tmp_path):
    make(tmp_path).gather()
    path = tmp_path / RECORDS
    text = path.read_text()
    at = text.index('"EM":0.', text.index("\n")) + 7  # in the second line
    path.write_text(text[:at] + ("1" if text[at] != "1" else "2") + text[at + 1 :])
    with pytest.raises(FileFormatError, match=r"line 2 of .* is not as it was written"):
        make(tmp_path).gather()
    with pytest.raises(FileFormatError, match="line 2"):
        read_run(tmp_path)


def test_a_scored_record_twice_is_an_error(tmp_path):
    make(tmp_path).gather()
    path = tmp_path / RECORDS
    path.write_bytes(path.read_bytes() + path.read_bytes().splitlines(keepends=True)[0])
    with pytest.raises(FileFormatError, match=r"line 41 of .* measures record 0 again"):
        make(tmp_path).gather()


def test_failed_records_are_measured_again_when_asked(tmp_path, undisturbed):
    run = make(tmp_path).gather()
    assert same(make(tmp_path).gather(), undisturbed)
    again = make(tmp_path, StubPlan()).gather(retry=True)
    assert again.failed == ()
    assert again.outcomes[0] == run.outcomes[0]
    assert len((tmp_path / RECORDS).read_bytes().splitlines()) == len(ALL) + len(FAILING)


def test_what_is_no_run_is_left_as_it_is(tmp_path):
    (tmp_path / RECORDS).write_text("mine\n")
    with pytest.raises(InputError, match=f"holds {RECORDS} and no {MANIFEST}"):
        make(tmp_path).gather()
    assert (tmp_path / RECORDS).read_text() == "mine\n"
    (tmp_path / MANIFEST).write_text("{}")
    with pytest.raises(FileFormatError, match="not the manifest of an evaluation"):
        make(tmp_path).gather()
    with pytest.raises(InputError, match=f"has no {MANIFEST}"):
        read_run(tmp_path / "nowhere")


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        make(tmp_path / "file" / "run").gather()


def test_a_plan_that_cannot_be_opened_leaves_no_folder(tmp_path):
    with pytest.raises(InputError, match="no model of that name"):
        make(tmp_path / "run", StubPlan(missing=True)).gather()
    assert not (tmp_path / "run").exists()


def test_a_model_that_does_not_come_back_condemns_the_run(tmp_path):
    with pytest.raises(NumericalError, match="is not what it was"):
        make(tmp_path, StubPlan(broken=True)).gather()
    for use in (lambda: read_run(tmp_path), make(tmp_path).gather):
        with pytest.raises(InputError, match=r"cannot be used: a.weight"):
            use()


def test_records_are_each_there_once():
    with pytest.raises(InputError, match="no record"):
        records_identity([])
    with pytest.raises(InputError, match="case_id 3 is there twice"):
        records_identity([*ALL[:4], ALL[1]])


# Lines


def test_a_sealed_line_is_itself_and_nothing_else():
    line = sealed({"b": 1.5, "a": "é\n\x00"})
    assert unsealed(line) == {"a": "é\n\x00", "b": 1.5}
    assert line.count(b"\n") == 1
    for at in range(len(line)):
        for byte in (0, 32, 49, line[at] ^ 1):
            changed = line[:at] + bytes([byte]) + line[at + 1 :]
            assert changed == line or unsealed(changed) is None
        assert unsealed(line[:at]) is None
    with pytest.raises(ValueError, match="not JSON compliant"):
        sealed({"a": float("nan")})


def test_lines_end_where_the_last_whole_one_does(tmp_path):
    path = tmp_path / "lines"
    path.write_bytes(sealed({"a": 1}) + sealed({"a": 2})[:-1])
    assert read_lines(path, ADVICE).contents == [{"a": 1}]
    assert read_lines(path, ADVICE).end == len(sealed({"a": 1}))


# Several processes


@pytest.fixture(scope="module")
def spread(tmp_path_factory):
    folder = tmp_path_factory.mktemp("spread")
    plan = StubPlan(failing=FAILING, killed_once=(9,), deadly=(33,), memory=folder, seconds=0.01)
    return make(folder / "run", plan).gather(Processes(2))


def test_two_processes_give_the_outcomes_of_one(spread, undisturbed):
    """A record whose worker was killed is measured again; one that kills every worker has failed."""
    pairs = list(zip(spread.outcomes, undisturbed.outcomes, strict=True))
    for found, expected in pairs:
        if found.case_id != 33:
            assert (found.scores, found.error) == (expected.scores, expected.error)
    (deadly,) = [outcome for outcome in spread.failed if outcome.case_id not in FAILING]
    assert deadly.error == f"WorkerDied: {DEATHS} workers ended while they measured it (exit code -9)"


def test_what_a_worker_finds_is_raised_here(tmp_path):
    with pytest.raises(InputError, match="no model of that name"):
        make(tmp_path / "run", StubPlan(missing=True)).gather(Processes(1))
    assert not (tmp_path / "run").exists()
    with pytest.raises(NumericalError, match="is not what it was"):
        make(tmp_path / "run", StubPlan(broken=True), ALL[:2]).gather(Processes(1))


def test_no_workers_are_refused():
    with pytest.raises(InputError, match="0 workers"):
        Processes(0)
