"""Models measured in processes: results in order, nothing left running."""

import multiprocessing
from pathlib import Path

from claims.catalogue import SECTIONS
from claims.registry import select
from claims.settings import Settings
from claims.verdicts import Verdict
from claims.workers import Crew


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
