"""Models measured in processes: results in order, nothing left running."""

import multiprocessing
import os
from pathlib import Path

from claims.catalogue import SECTIONS
from claims.registry import select
from claims.settings import Settings
from claims.verdicts import Verdict
from claims.workers import Crew
from tests.claims.fakes import fake_claim, fake_section


def test_results_come_back_in_order_and_the_processes_end(tmp_path: Path) -> None:
    folders = [tmp_path / "b", tmp_path / "a"]
    for folder in folders:
        folder.mkdir()
    with Crew(select(SECTIONS, "rome.specific"), Settings()) as crew:
        found = crew.measure([str(folder) for folder in folders], lambda source, done, of: None)
    assert [(result.model, result.verdict) for result in found] == [
        ("b", Verdict.NOT_MEASURED),
        ("a", Verdict.NOT_MEASURED),
    ]
    assert multiprocessing.active_children() == []


class DyingCrew(Crew):
    """Every process ends at once, as one does that is killed for want of memory."""

    def _start(self, source: str) -> None:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=os._exit, args=(3,))
        process.start()
        theirs.close()
        self._running[ours] = (source, process)


def test_a_process_that_dies_is_an_error_of_its_model() -> None:
    sections = [fake_section(fake_claim("a"), fake_claim("b", on_models=False))]
    with DyingCrew(sections, Settings()) as crew:
        (found,) = crew.measure(["gpt2-xl"], lambda source, done, of: None)
    assert (found.claim, found.model, found.verdict) == ("fake.a", "gpt2-xl", Verdict.ERROR)
    assert "exit code 3" in found.reason
