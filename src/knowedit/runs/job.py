"""What a worker pool is given: a job that opens stations, and how many workers there are."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

from knowedit.errors import InputError

In = TypeVar("In", contravariant=True)
Out = TypeVar("Out", covariant=True)
Tell = Callable[[Any], None]
CROWD: Final = 4
"""Processes a CPU; more only wait for each other, and each holds a model."""
FEW: Final = 16
"""Processes that any machine may start."""


class Station(Protocol[In, Out]):
    """Measures items, in the process where it was opened."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """Everything that the results depend on besides the items, as JSON; the same in all workers."""
        ...

    def measure(self, item: In, tell: Tell, /) -> Out:
        """The result of one item.

        Args:
            item: it can be pickled.
            tell: reports progress to the caller of the pool; drops it on a Ray cluster.
        """
        ...

    def check(self) -> None:
        """Raise unless all results can be trusted; called after the last item."""
        ...


class Job(Protocol[In, Out]):
    """What a worker does. It can be pickled, so that each worker opens a station of its own."""

    def open(self) -> Station[In, Out]:
        """Load what is needed."""
        ...


@dataclass(frozen=True)
class Workers:
    """How many workers there are, and where.

    There are never more of them than items. Workers in processes of their own have a fixed number of threads, as the
    order of sums, and so the last digits, depend on it. They import the main module of the program, so a script keeps
    its work under ``if __name__ == "__main__"``, and they end when this process does, however it ends.

    Attributes:
        count: how many; 0 measures in this process, with its number of threads; None takes as many as there are CPUs
            for this process.
        threads: of each.
        ray: None for processes of this machine; else the address of a Ray cluster, ``auto``, or ``local`` to start
            one on this machine. Needs the extra ``ray``.
        gpus: of each worker of a cluster; without one it sees none.

    Raises:
        InputError: fewer than none, or none on a cluster; or far more processes than this machine has CPUs.
    """

    count: int | None = None
    threads: int = 1
    ray: str | None = None
    gpus: float = 0.0

    def __post_init__(self) -> None:
        if self.count is not None and self.count < (0 if self.ray is None else 1):
            raise InputError(f"{self.count} workers cannot measure anything: give at least one")
        most = max(FEW, CROWD * self.cpus())
        if self.ray is None and (self.count or 0) > most:
            raise InputError(
                f"{self.count} workers are too many for {self.cpus()} CPUs: give at most {most}, or one a CPU"
            )

    @staticmethod
    def cpus() -> int:
        """How many CPUs this process may use."""
        affinity = getattr(os, "sched_getaffinity", None)  # not on Windows and macOS
        return len(affinity(0)) if affinity else os.cpu_count() or 1


@dataclass(frozen=True)
class WorkerDied:
    """The result of an item that ended its workers.

    Attributes:
        reason: what is known.
    """

    reason: str
