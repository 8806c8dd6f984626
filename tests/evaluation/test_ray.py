"""Actors give the outcomes of one process, also when some of them are killed; run by ``nox -s ray``."""

from __future__ import annotations

import pytest

from knowedit.errors import InputError
from knowedit.evaluation.executors import DEATHS
from knowedit.evaluation.ray_executor import RayActors
from knowedit.evaluation.run import EvaluationRun
from tests.evaluation.stubs import StubPlan, make_records

FAILING = (6, 21)


def test_without_ray_the_error_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr("knowedit.evaluation.ray_executor.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'knowedit\[ray\]'"):
        EvaluationRun(StubPlan(), make_records(2), tmp_path / "run").gather(RayActors(1))
    assert not (tmp_path / "run").exists()


@pytest.fixture(scope="module")
def cluster():
    ray = pytest.importorskip("ray", reason="Ray is not installed; nox -s ray has it")
    ray.init(num_cpus=3, include_dashboard=False, log_to_driver=False)
    yield ray
    ray.shutdown()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.slow
def test_actors_that_are_killed_lose_nothing(cluster, tmp_path):
    records = make_records(40)
    expected = EvaluationRun(StubPlan(failing=FAILING), records, tmp_path / "whole").gather()
    plan = StubPlan(failing=FAILING, killed_once=(9, 30), deadly=(33,), memory=tmp_path, seconds=0.01)
    found = EvaluationRun(plan, records, tmp_path / "run").gather(RayActors(2))
    assert found.missing == 0
    for mine, theirs in zip(found.outcomes, expected.outcomes, strict=True):
        if mine.case_id != 33:
            assert (mine.scores, mine.error) == (theirs.scores, theirs.error)
    assert str(found.outcomes[11].error).startswith(f"WorkerDied: {DEATHS} workers")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.slow
def test_an_actor_that_cannot_open_its_plan_says_why(cluster, tmp_path):
    with pytest.raises(InputError, match="no model of that name"):
        EvaluationRun(StubPlan(missing=True), make_records(2), tmp_path / "run").gather(RayActors(1))
