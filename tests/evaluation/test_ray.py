"""Actors give the outcomes of one process, also when some of them are killed; run by ``nox -s ray``."""

from __future__ import annotations

import os
import random
import signal
import sys
from dataclasses import dataclass
from types import SimpleNamespace

import pytest

from knowedit.errors import InputError, NumericalError
from knowedit.evaluation.runs.evaluate import run_job
from knowedit.runs import Workers, open_pool
from knowedit.runs.ray import RayActors
from tests.evaluation.stubs import StubPlan, StubStation, make_records

FAILING = (6, 21)


def workers(count, address="local", gpus=0.0):
    return Workers(count, ray=address, gpus=gpus)


def test_without_ray_the_error_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr("knowedit.runs.ray.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'knowedit\[ray\]'"):
        run_job(StubPlan(), make_records(2), tmp_path / "run", workers=workers(1))
    assert not (tmp_path / "run").exists()


@dataclass
class Unconnected:
    """What Ray does where no cluster is."""

    error: Exception
    asked: dict | None = None
    exceptions = SimpleNamespace(RayError=KeyError)

    def is_initialized(self):
        return False

    def init(self, **asked):
        self.asked = asked
        raise self.error


@pytest.mark.parametrize("error", [ConnectionError("nobody answers"), RuntimeError("nobody answers")])
def test_without_a_cluster_the_error_says_how_to_start_one(monkeypatch, tmp_path, error):
    ray = Unconnected(error)
    monkeypatch.setattr("knowedit.runs.ray.find_spec", lambda name: ray)
    monkeypatch.setitem(sys.modules, "ray", ray)
    with pytest.raises(
        InputError, match="cluster at auto: nobody answers; start one with `ray start --head`"
    ):
        run_job(StubPlan(), make_records(2), tmp_path / "run", workers=workers(1, "auto"))
    assert not (tmp_path / "run").exists()
    assert ray.asked["address"] == "auto"
    assert "num_cpus" not in ray.asked  # Ray refuses it for a cluster that is there


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1"])
def test_an_address_where_nobody_listens_is_said_at_once(monkeypatch, address):
    ray = Unconnected(RuntimeError())
    monkeypatch.setattr("knowedit.runs.ray.find_spec", lambda name: ray)
    monkeypatch.setitem(sys.modules, "ray", ray)
    with (
        pytest.raises(InputError, match=f"cluster at {address}: .*refused"),
        open_pool(StubPlan(), workers(1, address)),
    ):
        pass
    assert ray.asked is None


def test_a_cluster_of_this_machine_has_room_for_all_workers_and_ignores_others(monkeypatch):
    ray = Unconnected(RuntimeError())
    monkeypatch.setattr("knowedit.runs.ray.find_spec", lambda name: ray)
    monkeypatch.setitem(sys.modules, "ray", ray)
    with pytest.raises(InputError), open_pool(StubPlan(), workers(7), 7):
        pass
    # With no address Ray would take that of RAY_ADDRESS.
    assert (ray.asked["address"], ray.asked["num_cpus"]) == ("local", 7)


# On a cluster


def on_cluster(test):
    """Ray warns of its own code and of small machines."""
    return pytest.mark.slow(pytest.mark.filterwarnings("ignore")(test))


@pytest.fixture(scope="module")
def cluster():
    ray = pytest.importorskip("ray", reason="Ray is not installed; nox -s ray has it")
    ray.init(address="local", num_cpus=2, num_gpus=0, include_dashboard=False, log_to_driver=False)
    yield ray
    ray.shutdown()


@dataclass(frozen=True)
class LosingPlan(StubPlan):
    """A plan whose workers are lost in other ways; ``memory`` has a file for each process that opened it.

    Attributes:
        lost: so many workers are killed while they open it.
        unlike: no two workers say that they measure the same.
        greedy: case ids for which there is no memory.
    """

    lost: int = 0
    unlike: bool = False
    greedy: tuple[int, ...] = ()

    def open(self):
        before = len(list(self.memory.glob("*.pid")))
        (self.memory / f"{os.getpid()}.pid").touch()
        if before < self.lost:
            os.kill(os.getpid(), signal.SIGKILL)
        station = LosingStation(self)
        if self.unlike:
            station.identity["model"] = str(os.getpid())
        return station


class LosingStation(StubStation):
    def measure(self, block, tell):
        if block[0].case_id in self.plan.greedy:
            raise MemoryError("no room")
        return super().measure(block, tell)


def gathered(plan, records, out, count=2, **options):
    return run_job(plan, records, out, workers=Workers(count, ray="local"), **options)


def same(found, expected):
    return [(o.case_id, o.scores, o.error) for o in found] == [
        (o.case_id, o.scores, o.error) for o in expected
    ]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "run"
    return run_job(StubPlan(failing=FAILING), make_records(40), out)


@on_cluster
def test_actors_that_are_killed_lose_nothing(cluster, tmp_path, undisturbed):
    plan = StubPlan(failing=FAILING, killed_once=(9, 30), deadly=(33,), memory=tmp_path, seconds=0.01)
    found = gathered(plan, make_records(40), tmp_path / "run")
    deadly = found.outcomes[11]
    others = [outcome for outcome in undisturbed.outcomes if outcome.case_id != 33]
    assert same([outcome for outcome in found.outcomes if outcome.case_id != 33], others)
    assert str(deadly.error).startswith("WorkerDied: 2 workers")


@on_cluster
def test_actors_killed_from_outside_at_any_time_lose_nothing(cluster, tmp_path, undisturbed):
    """Ready, at work or starting: each tenth record some process that opened the plan is killed."""
    chance, killed = random.Random(0), []

    def kill(done, of, outcome):
        if done % 10 == 5:
            there = [int(file.stem) for file in tmp_path.glob("*.pid") if int(file.stem) not in killed]
            killed.append(chance.choice(there))
            os.kill(killed[-1], signal.SIGKILL)

    plan = LosingPlan(failing=FAILING, memory=tmp_path, seconds=0.05)
    found = gathered(plan, make_records(40), tmp_path / "run", watch=kill)
    assert len(killed) == 4
    assert same(found.outcomes, undisturbed.outcomes)


@on_cluster
def test_actors_without_room_are_not_waited_for(cluster, tmp_path, undisturbed):
    found = gathered(StubPlan(failing=FAILING), make_records(40), tmp_path / "run", count=4)
    assert same(found.outcomes, undisturbed.outcomes)


@on_cluster
def test_an_actor_for_which_there_is_no_machine_is_refused(cluster, tmp_path):
    with pytest.raises(InputError, match="has 0 GPUs and each worker needs 1"):
        run_job(StubPlan(), make_records(2), tmp_path / "run", workers=workers(1, gpus=1.0))
    assert not (tmp_path / "run").exists()


@on_cluster
def test_actors_that_are_killed_as_they_start_are_replaced(cluster, tmp_path, monkeypatch):
    monkeypatch.setattr(RayActors, "starts", 2)
    assert not gathered(LosingPlan(memory=tmp_path, lost=1), make_records(2), tmp_path / "run", 1).missing
    with pytest.raises(InputError, match="a worker ended before it was ready"):
        gathered(LosingPlan(memory=tmp_path, lost=99), make_records(2), tmp_path / "other", 1)


@on_cluster
def test_an_actor_that_measures_something_else_is_refused(cluster, tmp_path):
    plan = LosingPlan(memory=tmp_path, unlike=True, seconds=0.5)
    with pytest.raises(InputError, match="two workers would not measure the same: model"):
        gathered(plan, make_records(40), tmp_path / "run")


@on_cluster
def test_what_an_actor_finds_is_raised_here(cluster, tmp_path):
    with pytest.raises(InputError, match=r"^no model of that name$"):
        gathered(StubPlan(missing=True), make_records(2), tmp_path / "run", 1)
    assert not (tmp_path / "run").exists()
    with pytest.raises(NumericalError, match=r"^a\.weight is not what it was$"):
        gathered(StubPlan(broken=True), make_records(2), tmp_path / "run", 1)


@on_cluster
def test_an_actor_without_memory_is_replaced(cluster, tmp_path):
    found = gathered(LosingPlan(memory=tmp_path, greedy=(3,)), make_records(3), tmp_path / "run", 1)
    assert [outcome.case_id for outcome in found.failed] == [3]
    assert "(RayTaskError(MemoryError))" in str(found.failed[0].error)
