"""Where records are measured: in this process, or in several (and with `ray_executor` on several machines).

Every executor gives the same outcomes, in any order; what a record draws depends on the run's seed and its
case id alone, and each worker measures one record at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Final, Protocol

from knowedit.errors import InputError
from knowedit.evaluation.records.record import Record
from knowedit.evaluation.runs.folder import Outcome
from knowedit.evaluation.runs.job import Identity, Plan, Station
from knowedit.runs import differences

DEATHS: Final = 2
"""A record in whose measurement so many workers died is one that failed."""


class Crew(Protocol):
    """Workers with open stations."""

    @property
    def identity(self) -> Identity:
        """What all of them measure."""
        ...

    def measure(self, records: Sequence[Record]) -> Iterator[Outcome]:
        """The outcomes in the order in which they come; at the end every model was checked."""
        ...


class Executor(Protocol):
    """Opens stations. Leaving the ``with`` ends whatever still runs."""

    def open(self, plan: Plan) -> AbstractContextManager[Crew]:
        """The crew.

        Raises:
            InputError: see `Plan.open`.
        """
        ...


@dataclass(frozen=True)
class InProcess:
    """Measures in this process, with its number of threads.

    Attributes:
        station: one that is open already, for instance ``plan.on(lm)``; by default the plan opens one.
    """

    station: Station | None = None

    @contextmanager
    def open(self, plan: Plan) -> Iterator[Crew]:
        """One station, here."""
        yield _Alone(self.station or plan.open())


@dataclass(frozen=True)
class _Alone:
    station: Station

    @property
    def identity(self) -> Identity:
        return self.station.identity

    def measure(self, records: Sequence[Record]) -> Iterator[Outcome]:
        for record in records:
            yield self.station.measure(record)
        self.station.check()


def died(record: Record, why: str) -> Outcome:
    """The outcome of a record that took its workers with it."""
    return Outcome(record.case_id, None, f"WorkerDied: {DEATHS} workers ended while they measured it ({why})")


def agree(first: Identity, other: Identity) -> None:
    """Refuse a worker that would measure something else.

    Raises:
        InputError: with what differs.
    """
    if listed := differences(first, other):
        raise InputError(
            f"two workers would not measure the same: {listed}; give them the same versions and model"
        )
