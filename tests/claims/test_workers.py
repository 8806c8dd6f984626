"""Models measured by the worker pool: results in order, and nothing is left running."""

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from claims import run
from claims.catalogue import SECTIONS
from claims.registry import select
from claims.run import OnModels, on_models
from claims.settings import Settings
from claims.verdicts import Verdict
from knowedit.runs import WorkerDied, Workers
from tests.claims.fakes import fake_claim, fake_section


def test_a_worker_measures_real_claims_and_ends(tmp_path: Path) -> None:
    folders = [tmp_path / "b", tmp_path / "a"]
    for folder in folders:
        folder.mkdir()
    found = on_models(
        [str(folder) for folder in folders],
        select(SECTIONS, "rome.specific"),
        Settings(),
        Workers(1),
        lambda source, steps: None,
    )
    assert [(result.model, result.verdict) for result in found] == [
        ("b", Verdict.NOT_MEASURED),
        ("a", Verdict.NOT_MEASURED),
    ]
    assert multiprocessing.active_children() == []


class FakePool:
    """Measures the last model first, in this process; of ``deadly`` the worker dies."""

    def __init__(self, job: OnModels):
        self.job = job

    def measure(self, sources: Sequence[str], watch: Callable[[str, Any], None]) -> Iterator[tuple[str, Any]]:
        for source in reversed(sources):
            watch(source, (1, 2))
            died = WorkerDied("2 workers ended while they measured it (exit code -9)")
            yield source, died if source == "deadly" else self.job.measure(source, lambda steps: None)


def test_results_are_in_the_order_of_the_models_and_a_worker_that_died_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[Any] = []

    @contextmanager
    def opened(job: OnModels, workers: Workers, items: int) -> Iterator[FakePool]:
        seen.append((workers, items))
        yield FakePool(job)

    monkeypatch.setattr(run, "open_pool", opened)
    monkeypatch.setattr(run, "open_model", lambda source, settings: None)
    sections = [fake_section(fake_claim("a"), fake_claim("b", on_models=False))]
    workers = Workers(2, threads=3)
    found = on_models(
        ["gpt2-xl", "deadly"], sections, Settings(), workers, lambda source, steps: seen.append(source)
    )
    assert seen == [(workers, 2), "deadly", "gpt2-xl"]
    assert [(one.claim, one.model, one.verdict) for one in found] == [
        ("fake.a", "gpt2-xl", Verdict.HOLDS),
        ("fake.a", "deadly", Verdict.ERROR),
    ]
    assert "exit code -9" in found[1].reason
    assert "memory ran out" in found[1].reason
    assert capsys.readouterr().err.count("Traceback") == 0


def test_without_models_no_worker_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "open_pool", lambda *given: pytest.fail("started"))
    for sources, sections in (([], SECTIONS), (["gpt2-xl"], select(SECTIONS, "data"))):
        assert on_models(sources, sections, Settings(), Workers(1), lambda source, steps: None) == []
