"""Whether a run folder is still evidence: unchanged, of today's code, and found again on a sample."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from knowedit.errors import InputError
from knowedit.evaluation.columns import COLUMNS
from knowedit.evaluation.measuring import Station
from knowedit.evaluation.records import Record
from knowedit.evaluation.run import records_identity
from knowedit.evaluation.run_folder import Run
from knowedit.evaluation.scores import RecordScores

ELSEWHERE = ("versions",)
"""Entries of an identity that another machine may have otherwise."""


@dataclass(frozen=True)
class Comparison:
    """What a sample of a run's records gave when it was measured again.

    Attributes:
        cases: the case ids of the sample.
        largest: column to the largest difference of a record's value, in the column's own unit; infinite
            where one of the two is not measured.
        failures: case ids that failed in one of the two only.
    """

    cases: tuple[int, ...]
    largest: dict[str, float]
    failures: tuple[int, ...]

    def agrees(self, tolerance: float) -> bool:
        """Whether nothing failed and no column differs by more.

        Another processor rounds differently, so probabilities agree to few digits, and drawn text may
        differ as a whole: compare its columns by their means.
        """
        return not self.failures and all(value <= tolerance for value in self.largest.values())


def is_stale(run: Run, station: Station) -> bool:
    """Whether the code that the scores come from has changed since the run."""
    return bool(run.identity["code"] != station.identity["code"])


def verify(run: Run, station: Station, records: Sequence[Record], sample: int, seed: int = 0) -> Comparison:
    """Measure some records of a run again.

    Args:
        run: what is doubted.
        station: an open one of the same plan.
        records: all records of the run.
        sample: how many are measured, all if there are fewer.
        seed: draws them.

    Raises:
        InputError: other records, or a station of another model, method, seed or scores.
    """
    _require_same_question(run, station, records)
    drawn = random.Random(f"verify {seed}").sample(list(run.outcomes), min(sample, len(run.outcomes)))
    by_case = {record.case_id: record for record in records}
    largest = dict.fromkeys(COLUMNS, 0.0)
    failures = []
    for outcome in drawn:
        again = station.measure(by_case[outcome.case_id])
        if outcome.scores is None or again.scores is None:
            failures += [outcome.case_id] if (outcome.scores is None) != (again.scores is None) else []
            continue
        for key, difference in _differences(outcome.scores, again.scores).items():
            largest[key] = max(largest[key], difference)
    station.check()
    return Comparison(tuple(sorted(outcome.case_id for outcome in drawn)), largest, tuple(sorted(failures)))


def _differences(first: dict[str, Any], second: dict[str, Any]) -> dict[str, float]:
    old, new = RecordScores.from_json(first).columns, RecordScores.from_json(second).columns
    found = {}
    for key in COLUMNS:
        a, b = old[key], new[key]
        found[key] = (0.0 if a == b else float("inf")) if a is None or b is None else abs(a - b)
    return found


def _require_same_question(run: Run, station: Station, records: Sequence[Record]) -> None:
    if records_identity(records) != run.identity["records"]:
        raise InputError(f"these are not the records of {run.path}: give those that it was run with")
    for name in ("model", "method", "seed", "scores"):
        if run.identity[name] != station.identity[name]:
            raise InputError(
                f"{run.path} was run with another {name} ({run.identity[name]}, {station.identity[name]} here): "
                "give the same"
            )
