"""A plan without a model: scores are drawn by a record's seed, so a run takes milliseconds."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

from knowedit.errors import InputError, NumericalError
from knowedit.evaluation.records.record import Record
from knowedit.evaluation.runs.run import Outcome
from knowedit.evaluation.runs.seeds import record_generator
from knowedit.facts import Fact

COLUMNS = ("ES", "EM", "PS", "PM", "NS", "NM")


def make_records(count: int) -> list[Record]:
    return [
        Record(case_id=3 * n, fact=Fact(f"Name {n}", "{} plays the", "cello", target_true="flute"))
        for n in range(count)
    ]


@dataclass(frozen=True)
class StubPlan:
    """Scores by the seed.

    Attributes:
        seconds: how long a record takes.
        failing: case ids that fail.
        killed_once: case ids whose worker is killed the first time; the folder remembers.
        deadly: case ids whose worker is always killed.
        broken: the model does not come back.
        missing: opening the plan fails.
    """

    seed: int = 0
    seconds: float = 0.0
    failing: tuple[int, ...] = ()
    killed_once: tuple[int, ...] = ()
    deadly: tuple[int, ...] = ()
    memory: Path = Path()
    broken: bool = False
    missing: bool = False

    def open(self):
        if self.missing:
            raise InputError("no model of that name")
        return StubStation(self)


@dataclass(frozen=True)
class StubStation:
    plan: StubPlan
    identity: dict = field(init=False)

    def __post_init__(self):
        object.__setattr__(
            self, "identity", {"model": "m", "seed": self.plan.seed, "settings": {"layer": 5, "grid": (1, 2)}}
        )

    def measure(self, block, tell):
        return tuple(self.outcome(record) for record in block)

    def outcome(self, record):
        time.sleep(self.plan.seconds)
        case = record.case_id
        self._die(case)
        if case in self.plan.failing:
            return Outcome(case, None, "InputError: no such subject", 0.5)
        columns = {
            name: record_generator(self.plan.seed, case, name).initial_seed() / 2**56 for name in COLUMNS
        }
        return Outcome(case, {"columns": columns}, None, time.perf_counter() % 1)

    def _die(self, case):
        marker = self.plan.memory / f"{case}.killed"
        if case in self.plan.deadly or (case in self.plan.killed_once and not marker.exists()):
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    def check(self):
        if self.plan.broken:
            raise NumericalError("a.weight is not what it was")
