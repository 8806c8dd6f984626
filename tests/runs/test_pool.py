"""A pool measures each item once, replaces workers that die, and leaves none behind."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from knowedit.errors import InputError, NumericalError
from knowedit.runs import WorkerDied, Workers, open_pool
from tests.runs.jobs import Squares, marked

ITEMS = list(range(12))


def measured(job, workers, items=ITEMS, watch=None):
    with open_pool(job, workers, len(items)) as pool:
        return dict(pool.measure(items, watch))


@pytest.mark.parametrize("count", [0, 1, 2])
def test_every_item_has_its_result_and_is_told_of(tmp_path, count):
    told = []
    found = measured(
        Squares(tmp_path, waits_for=count),
        Workers(count),
        watch=lambda item, message: told.append((item, message)),
    )
    assert found == {item: item**2 for item in ITEMS}
    assert sorted(told) == [(item, ("half", item)) for item in ITEMS]
    assert len(marked(tmp_path, "pid")) == max(count, 1)
    assert marked(tmp_path, "measured") <= marked(tmp_path, "checked") <= marked(tmp_path, "pid")
    assert (str(os.getpid()) in marked(tmp_path, "pid")) == (count == 0)
    assert multiprocessing.active_children() == []


def test_workers_that_are_killed_lose_nothing(tmp_path):
    """An item whose worker was killed is measured again; one that kills every worker has died."""
    found = measured(Squares(tmp_path, killed_once=(3,), deadly=(7,)), Workers(2))
    died = found.pop(7)
    assert found == {item: item**2 for item in ITEMS if item != 7}
    assert died == WorkerDied("2 workers ended while they measured it (exit code -9)")
    assert multiprocessing.active_children() == []


def test_there_are_never_more_workers_than_items(tmp_path):
    assert measured(Squares(tmp_path, waits_for=2), Workers(16), [4, 5]) == {4: 16, 5: 25}
    assert len(marked(tmp_path, "pid")) == 2


def test_by_default_there_is_a_worker_for_each_cpu(tmp_path, monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 5}, raising=False)
    assert len(measured(Squares(tmp_path, waits_for=2), Workers())) == len(ITEMS)
    assert len(marked(tmp_path, "pid")) == 2


def test_what_there_is_to_measure_may_turn_out_later(tmp_path):
    """A pool says what it measures before the items are known, and can be asked again."""
    with open_pool(Squares(tmp_path, waits_for=1), Workers(2, threads=3)) as pool:
        assert pool.identity == {"model": "m", "threads": "3"}
        assert list(pool.measure([])) == []
        assert dict(pool.measure([1, 2])) == {1: 1, 2: 4}
        assert dict(pool.measure([3])) == {3: 9}


def test_the_environment_is_as_before(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    with open_pool(Squares(tmp_path), Workers(1)) as pool:
        assert pool.identity["threads"] == "1"
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "MKL_NUM_THREADS" not in os.environ


@pytest.mark.parametrize("count", [0, 1])
def test_what_a_worker_finds_is_raised_here(tmp_path, count):
    with pytest.raises(InputError, match=r"^no model of that name$"):
        measured(Squares(tmp_path, missing=True), Workers(count))
    with pytest.raises(NumericalError, match="a negative number"):
        measured(Squares(tmp_path), Workers(count), [-1])
    with pytest.raises(NumericalError, match="is not what it was"):
        measured(Squares(tmp_path, broken=True), Workers(count), [1])
    assert multiprocessing.active_children() == []


def test_workers_that_would_not_measure_the_same_are_refused(tmp_path):
    with pytest.raises(InputError, match="two workers would not measure the same: model is"):
        measured(Squares(tmp_path, unlike=True, waits_for=2), Workers(2))


def test_a_worker_that_ends_before_it_is_ready_is_not_tried_for_ever(tmp_path):
    with pytest.raises(InputError, match=r"before it was ready \(exit code -9\): look for an error above"):
        measured(Squares(tmp_path, lost=99), Workers(1))


def test_work_that_cannot_be_sent_is_refused(tmp_path):
    class Local(Squares):
        pass

    assert measured(Local(tmp_path), Workers(0), [3]) == {3: 9}
    with pytest.raises(InputError, match=r"cannot be sent to another process .* at the top of a module"):
        measured(Local(tmp_path), Workers(1), [3])
    assert multiprocessing.active_children() == []


def test_no_workers_are_refused():
    with pytest.raises(InputError, match="-1 workers"):
        Workers(-1)
    with pytest.raises(InputError, match="0 workers"):
        Workers(0, ray="auto")


def test_far_more_workers_than_cpus_are_refused_here_and_not_on_a_cluster():
    most = max(16, 4 * Workers.cpus())
    assert Workers(most).count == most
    with pytest.raises(InputError, match=f"{most + 1} workers are too many .* at most {most}"):
        Workers(most + 1)
    assert Workers(10**6, ray="auto").count == 10**6


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_workers_end_with_the_process_that_started_them(how):
    """However busy they are: in a loop of Python, in one long call of a library, or asleep."""
    root = Path(__file__).parents[2]
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(60)
        command = [sys.executable, "-m", "tests.runs.jobs", str(server.getsockname()[1])]
        with subprocess.Popen(command, cwd=root) as parent:
            lines = [server.accept()[0] for _ in range(3)]
            for line in lines:
                line.settimeout(60)
            assert {line.recv(9) for line in lines} == {b"python", b"library", b"nothing"}
            parent.send_signal(how)
            assert [line.recv(9) for line in lines] == [
                b""
            ] * 3  # the system closes them when a worker has ended
        for line in lines:
            line.close()
