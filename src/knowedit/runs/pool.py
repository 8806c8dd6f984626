"""A worker pool: items are measured by stations in this process, in others, or on a Ray cluster.

Every pool gives the same results, in any order, if a station's result depends on its item alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, Generic, Protocol, TypeVar

from knowedit.errors import InputError
from knowedit.runs.job import Job, Station, WorkerDied, Workers
from knowedit.runs.manifest import differences
from knowedit.runs.processes import Processes
from knowedit.runs.ray import RayActors

DEATHS: Final = 2
"""When this number of workers ended while they measured an item, its result is `WorkerDied`."""

Item = TypeVar("Item")
Result = TypeVar("Result")


class _Transport(Protocol):
    """Starts workers and carries messages; a worker is known by a number."""

    advice: str
    """What to do when no worker gets ready."""
    starts: int
    """When this number of workers in a row ended before they were ready, no more are started."""

    def start(self) -> int:
        """Start a worker; it opens a station, and that is heard as ``ready`` with the station's identity."""
        ...

    def send(self, worker: int, item: Any, /) -> None:
        """Have an item measured, heard as ``done`` with the result; None has the station checked, heard likewise."""
        ...

    def hear(self, told: Callable[[int, Any], None], /) -> list[tuple[int, str, Any]]:
        """Wait for news: worker, kind and value. Besides the above, ``lost`` with a reason.

        Args:
            told: called with a worker and a message about its item.

        Raises:
            KnoweditError: one that a station raised.
        """
        ...

    def end(self) -> None:
        """End all workers now."""
        ...


class Pool(Generic[Item, Result]):
    """Gives an item to each worker, and the next when its result is there; see `open_pool`."""

    def __init__(self, transport: _Transport, limit: int):
        self._transport, self._limit = transport, limit
        self._identity: Mapping[str, Any] | None = None
        self._starting: set[int] = set()
        self._idle: list[int] = []
        self._busy: dict[int, int] = {}  # worker to the place of its item
        self._lost_starts = 0

    @property
    def identity(self) -> Mapping[str, Any]:
        """What every worker measures; the first to be ready reports it."""
        while self._identity is None:
            self._start(1)
            self._hear(lambda *_: None)
        return self._identity

    def measure(
        self, items: Sequence[Item], watch: Callable[[Item, Any], None] | None = None
    ) -> Iterator[tuple[Item, Result | WorkerDied]]:
        """Each item with its result, in the order in which they come; at the end every ready station was checked.

        Args:
            items: each is measured once, and again where its worker ended.
            watch: called with an item and a message about it.

        Raises:
            InputError: workers that do not measure the same, that do not get ready or are lost before the check.
            KnoweditError: what a station raised.
        """
        waiting, deaths = list(reversed(range(len(items)))), Counter[int]()

        def told(worker: int, message: Any) -> None:
            if watch is not None:
                watch(items[self._busy[worker]], message)

        while waiting or self._busy:
            self._start(len(waiting) + len(self._busy))
            while self._idle and waiting:
                worker = self._idle.pop(0)
                self._busy[worker] = waiting.pop()
                self._transport.send(worker, items[self._busy[worker]])
            for place, kind, value in self._hear(told):
                deaths[place] += kind == "lost"
                if kind == "done":
                    yield items[place], value
                elif deaths[place] < DEATHS:
                    waiting.append(place)
                else:
                    yield items[place], WorkerDied(f"{DEATHS} workers ended while they measured it ({value})")
        self._check()

    def _start(self, wanted: int) -> None:
        while len(self._starting) + len(self._idle) + len(self._busy) < min(self._limit, wanted):
            self._starting.add(self._transport.start())

    def _hear(self, told: Callable[[int, Any], None]) -> list[tuple[int, str, Any]]:
        """What became of items, by their places."""
        news = []
        for worker, kind, value in self._transport.hear(told):
            if kind == "ready":
                self._admit(worker, value)
            elif worker in self._busy:
                news.append((self._busy.pop(worker), kind, value))
                if kind == "done":
                    self._idle.append(worker)
            elif worker in self._idle:  # lost with nothing to do
                self._idle.remove(worker)
            else:
                self._lose_start(worker, value)
        return news

    def _admit(self, worker: int, identity: Mapping[str, Any]) -> None:
        self._identity = self._identity or identity
        if listed := differences(self._identity, identity):
            raise InputError(
                f"two workers would not measure the same: {listed}; give them the same versions and model"
            )
        self._starting.remove(worker)
        self._idle.append(worker)
        self._lost_starts = 0

    def _lose_start(self, worker: int, why: str) -> None:
        self._starting.remove(worker)
        self._lost_starts += 1
        if self._lost_starts == self._transport.starts:
            raise InputError(f"a worker ended before it was ready ({why}): {self._transport.advice}")

    def _check(self) -> None:
        """Have every station that is open checked; one that is still opening has measured nothing."""
        checking = set(self._idle)
        for worker in checking:
            self._transport.send(worker, None)
        while checking:
            for worker, kind, value in self._transport.hear(lambda *_: None):
                if kind == "ready":
                    self._admit(worker, value)
                elif kind == "lost" and worker in checking:
                    raise InputError(
                        f"a worker ended before it could check its work ({value}): give the same command again"
                    )
                checking.discard(worker)


class _Here:
    """One station in this process, which measures while it is heard."""

    advice, starts = "", 1

    def __init__(self, job: Job[Any, Any]):
        self._job = job
        self._station: Station[Any, Any] | None = None
        self._sent: list[Any] = []

    def start(self) -> int:
        return 0

    def send(self, _worker: int, item: Any) -> None:
        self._sent.append(item)

    def hear(self, told: Callable[[int, Any], None]) -> list[tuple[int, str, Any]]:
        if self._station is None:
            self._station = self._job.open()
            return [(0, "ready", self._station.identity)]
        item = self._sent.pop()
        if item is None:
            self._station.check()
            return [(0, "done", None)]
        return [(0, "done", self._station.measure(item, lambda message: told(0, message)))]

    def end(self) -> None:
        self._station = None


@contextmanager
def open_pool(job: Job[Item, Result], workers: Workers, items: int = 1) -> Iterator[Pool[Item, Result]]:
    """A pool whose workers start at once; leaving the ``with`` ends whatever still runs.

    Args:
        job: what the workers do.
        workers: how many, and where.
        items: how many are left to measure, as far as is known; there are never more workers than that.

    Raises:
        InputError: a job that cannot be sent to another process; Ray is not installed, or there is no cluster.
    """
    limit = workers.cpus() if workers.count is None else max(workers.count, 1)
    with _transport(job, workers, min(limit, max(items, 1))) as transport:
        pool: Pool[Item, Result] = Pool(transport, limit)
        try:
            pool._start(max(items, 1))
            yield pool
        finally:
            transport.end()


@contextmanager
def _transport(job: Job[Any, Any], workers: Workers, size: int) -> Iterator[_Transport]:
    if workers.ray is not None:
        with RayActors.connected(workers.ray, size) as ray:
            yield RayActors(ray, job, workers.threads, workers.gpus)
    elif workers.count == 0:
        yield _Here(job)
    else:
        yield Processes(job, workers.threads)
