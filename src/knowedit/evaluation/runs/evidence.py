"""Whether a run folder is still evidence: unchanged, of today's code, and found again on a sample."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from knowedit.errors import InputError
from knowedit.evaluation.records.record import Record
from knowedit.evaluation.runs.evaluate import records_identity
from knowedit.evaluation.runs.folder import Outcome, Run
from knowedit.evaluation.runs.job import Station
from knowedit.evaluation.scores.columns import COLUMNS
from knowedit.evaluation.scores.record_scores import RecordScores

Pairs: TypeAlias = tuple[tuple[RecordScores, RecordScores], ...]
Watch: TypeAlias = Callable[[int, int], None]
"""Called with the records that were measured again, and all that will be."""


@dataclass(frozen=True)
class Comparison:
    """What a sample of a run's records gave when it was measured again.

    Attributes:
        cases: the case ids of the sample.
        largest: column to the largest difference of a record's value, in the column's own unit; infinite
            where one of the two is not measured.
        failures: case ids that failed in one of the two only.
        pairs: what the run has and what was found now, of each record that failed in neither.
    """

    cases: tuple[int, ...]
    largest: dict[str, float]
    failures: tuple[int, ...]
    pairs: Pairs = field(default=(), compare=False, repr=False)

    def agrees(self, tolerance: float) -> bool:
        """Whether nothing failed and no column differs by more.

        Another processor rounds differently, so probabilities agree to few digits, and drawn text may
        differ as a whole: compare its columns by their means.
        """
        return not self.failures and all(value <= tolerance for value in self.largest.values())


def is_stale(run: Run, station: Station) -> bool:
    """Whether the code that the scores come from has changed since the run."""
    return bool(run.identity["code"] != station.identity["code"])


def verify(
    run: Run,
    station: Station,
    records: Sequence[Record],
    sample: int,
    seed: int = 0,
    watch: Watch | None = None,
) -> Comparison:
    """Measure some records of a run again.

    Args:
        run: what is doubted.
        station: an open one of the same plan.
        records: all records of the run.
        sample: how many are measured, all if there are fewer.
        seed: draws them.
        watch: called after each.

    Raises:
        InputError: other records, or a station of another model, method, seed or scores.
    """
    _require_same_question(run, station, records)
    drawn = random.Random(f"verify {seed}").sample(list(run.outcomes), min(sample, len(run.outcomes)))
    by_case = {record.case_id: record for record in records}
    again = []
    for outcome in drawn:
        again.append(station.measure(by_case[outcome.case_id]))
        if watch is not None:
            watch(len(again), len(drawn))
    station.check()
    return _compared(drawn, again)


def _compared(was: Sequence[Outcome], now: Sequence[Outcome]) -> Comparison:
    pairs, failures = [], []
    for old, new in zip(was, now, strict=True):
        if old.scores is not None and new.scores is not None:
            pairs.append((RecordScores.from_json(old.scores), RecordScores.from_json(new.scores)))
        elif (old.scores is None) != (new.scores is None):
            failures.append(old.case_id)
    differences = [_differences(*pair) for pair in pairs]
    largest = {key: max((one[key] for one in differences), default=0.0) for key in COLUMNS}
    cases = sorted(outcome.case_id for outcome in was)
    return Comparison(tuple(cases), largest, tuple(sorted(failures)), tuple(pairs))


def _differences(first: RecordScores, second: RecordScores) -> dict[str, float]:
    old, new = first.columns, second.columns
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
