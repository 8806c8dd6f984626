"""Workers as actors of a Ray cluster, on one machine or many; needs the extra ``ray``."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Final

import torch

from knowedit.errors import InputError, KnoweditError
from knowedit.evaluation.records.record import Record
from knowedit.evaluation.runs.executors import DEATHS, Crew, agree, died
from knowedit.evaluation.runs.folder import Outcome
from knowedit.evaluation.runs.job import Identity, Plan, Station
from knowedit.evaluation.runs.processes import THREAD_VARIABLES

STARTS: Final = 5
"""When so many actors in a row were lost before they were ready, no more are started."""


@dataclass(frozen=True)
class RayActors:
    """Measures in actors, one thread each; the results come back here, where the one file is written.

    A lost actor is replaced, and its record is measured again. A record's outcome is the same whoever measures
    it, and only one of them is taken, so nothing is lost or counted twice. Work begins with the first actor that
    is ready; those for which the cluster has no room join when it has.

    Attributes:
        workers: how many.
        address: of the cluster, or ``auto``; None starts one on this machine.
        gpus: of each actor; without one it sees none.

    Raises:
        InputError: fewer than one worker.
    """

    workers: int = 1
    address: str | None = None
    gpus: float = 0.0

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise InputError(f"{self.workers} workers cannot measure anything: give at least one")

    @contextmanager
    def open(self, plan: Plan) -> Iterator[Crew]:
        """Connect, unless this process is connected, and start the actors.

        Raises:
            InputError: Ray is not installed, there is no cluster, it has no room for one actor, or as `Plan.open`.
        """
        if find_spec("ray") is None:
            raise InputError("Ray is not installed: pip install 'knowedit[ray]', or leave out --ray")
        import ray

        with _connected(ray, self):
            crew = _Actors(ray, plan, self)
            try:
                crew.start()
                yield crew
            finally:
                crew.end()


@contextmanager
def _connected(ray: Any, how: RayActors) -> Iterator[None]:
    if ray.is_initialized():
        yield
        return
    address = how.address or "local"
    room = {"num_cpus": how.workers, "include_dashboard": False} if how.address is None else {}
    try:
        _see_listener(address)
        ray.init(address=address, **room, log_to_driver=False, configure_logging=False)
    except (OSError, RuntimeError, ValueError, ImportError, ray.exceptions.RayError) as error:
        raise InputError(
            f"no connection to a Ray cluster at {address}: {_line(error)}; start one with "
            "`ray start --head` and give its address, or --ray local"
        ) from None
    try:
        yield
    finally:
        ray.shutdown()


def _see_listener(address: str) -> None:
    """Ray would try without end to reach a ``HOST:PORT`` at which nobody listens.

    Raises:
        OSError: nobody does.
    """
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=10).close()


class _Desk:
    """What an actor is: a station, in its process."""

    def __init__(self, plan: Plan):
        self._plan = plan

    def open(self) -> dict[str, Any]:
        torch.set_num_threads(1)
        self._station: Station = self._plan.open()
        return dict(self._station.identity)

    def measure(self, record: Record) -> Outcome:
        return self._station.measure(record)

    def check(self) -> None:
        self._station.check()


class _Actors:
    """Hands a record to each actor, and the next when its outcome is there."""

    def __init__(self, ray: Any, plan: Plan, how: RayActors):
        self._ray, self._plan, self._how = ray, plan, how
        threads = {"env_vars": dict.fromkeys(THREAD_VARIABLES, "1")}
        self._kind = ray.remote(num_cpus=1, num_gpus=how.gpus, runtime_env=threads)(_Desk)
        self._idle: list[Any] = []
        self._tasks: dict[Any, tuple[Any, Record | None]] = {}  # with no record, the actor opens the plan
        self._waiting: list[Record] = []
        self._deaths: dict[int | None, int] = {}
        self._identity: Identity | None = None

    @property
    def identity(self) -> Identity:
        assert self._identity is not None
        return self._identity

    def start(self) -> None:
        self._see_room()
        for _ in range(self._how.workers):
            self._hire()
        while self._identity is None:
            self._hear()

    def end(self) -> None:
        for actor in [*self._idle, *(actor for actor, _ in self._tasks.values())]:
            self._ray.kill(actor)

    def measure(self, records: Sequence[Record]) -> Iterator[Outcome]:
        self._waiting = list(reversed(records))
        left = len(records)
        while left:
            self._occupy()
            for outcome in self._hear():
                left -= 1
                yield outcome
        self._check()

    def _see_room(self) -> None:
        """An actor for which no machine is large enough would be waited for without end."""
        there = self._ray.cluster_resources()
        for kind, needed in (("CPU", 1.0), ("GPU", self._how.gpus)):
            if there.get(kind, 0.0) < needed:
                raise InputError(
                    f"the Ray cluster has {there.get(kind, 0.0):g} {kind}s and each worker needs {needed:g}: "
                    "add machines that have them with `ray start`, or choose another --device"
                )

    def _hire(self) -> None:
        actor = self._kind.remote(self._plan)
        self._tasks[actor.open.remote()] = (actor, None)

    def _occupy(self) -> None:
        while self._idle and self._waiting:
            actor, record = self._idle.pop(), self._waiting.pop()
            self._tasks[actor.measure.remote(record)] = (actor, record)

    def _hear(self) -> list[Outcome]:
        """What the next actor brings: at most one outcome."""
        (done, *_), _rest = self._ray.wait(list(self._tasks), num_returns=1)
        actor, record = self._tasks.pop(done)
        try:
            found = self._ray.get(done)
        except self._ray.exceptions.RayError as error:
            return self._replace(actor, record, error)
        self._idle.append(actor)
        if record is not None:
            return [found]
        self._identity = self._identity or found
        agree(self._identity, found)
        self._deaths.pop(None, None)
        return []

    def _replace(self, actor: Any, record: Record | None, error: Exception) -> list[Outcome]:
        """An actor is lost: its record is measured again by another, but not for ever."""
        self._ray.kill(actor)  # it may only be out of reach
        case = None if record is None else record.case_id
        deaths = self._deaths[case] = self._deaths.get(case, 0) + 1
        if _own(error) or (record is None and (_raised(error) or deaths == STARTS)):
            raise _own(error) or InputError(
                f"a Ray actor could not start: {_line(error)}; look at Ray's logs"
            )
        self._hire()
        if record is None:
            return []
        if deaths == DEATHS:
            return [died(record, type(error).__name__)]
        self._waiting.append(record)
        return []

    def _check(self) -> None:
        """Let every actor that was ready check its model."""
        try:
            self._ray.get([actor.check.remote() for actor in self._idle])
        except self._ray.exceptions.RayError as error:
            raise _own(error) or InputError(
                f"a Ray actor was lost before it could check its model ({_line(error)}): "
                "give the same command again"
            ) from None


def _raised(error: Exception) -> Exception | None:
    """What the code in an actor raised; None where the actor was lost."""
    cause = getattr(error, "cause", None)
    return cause if isinstance(cause, Exception) else None


def _own(error: Exception) -> Exception | None:
    """An error of this package that was raised in an actor; None if it was anything else."""
    cause = _raised(error)
    return cause if isinstance(cause, KnoweditError) else None


def _line(error: Exception) -> str:
    """The last line that an error says."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][-300:] if lines else type(error).__name__
