"""Workers as actors of a Ray cluster, on one machine or many; needs the extra ``ray``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import torch

from knowedit.errors import InputError
from knowedit.evaluation.executors import DEATHS, Crew, agree, died
from knowedit.evaluation.measuring import Identity, Plan, Station
from knowedit.evaluation.processes import THREAD_VARIABLES
from knowedit.evaluation.records import Record
from knowedit.evaluation.run_folder import Outcome


@dataclass(frozen=True)
class RayActors:
    """Measures in actors, one thread each; the results come back here, where the one file is written.

    A killed actor's record is done again by a new one. A record's outcome is the same whoever measures it, so
    nothing is lost or counted twice.

    Attributes:
        workers: how many.
        address: of the cluster, or ``auto``; None starts one on this machine.
        gpus: of each actor.
    """

    workers: int = 1
    address: str | None = None
    gpus: float = 0.0

    @contextmanager
    def open(self, plan: Plan) -> Iterator[Crew]:
        """Connect and start the actors.

        Raises:
            InputError: Ray is not installed, or as `Plan.open`.
        """
        if find_spec("ray") is None:
            raise InputError("Ray is not installed: pip install 'knowedit[ray]', or leave out --ray")
        import ray

        ours = not ray.is_initialized()
        if ours:
            ray.init(
                address=self.address, log_to_driver=False, include_dashboard=False, configure_logging=False
            )
        crew = _Actors(ray, plan, self)
        try:
            crew.start()
            yield crew
        finally:
            crew.end()
            if ours:
                ray.shutdown()


class _Desk:
    """What an actor is: a station, in its process."""

    def __init__(self, plan: Plan):
        torch.set_num_threads(1)
        self._station: Station = plan.open()

    def identity(self) -> dict[str, Any]:
        return dict(self._station.identity)

    def measure(self, record: Record) -> Outcome:
        return self._station.measure(record)

    def check(self) -> None:
        self._station.check()


class _Actors:
    def __init__(self, ray: Any, plan: Plan, how: RayActors):
        self._ray, self._plan, self._how = ray, plan, how
        threads = {"env_vars": dict.fromkeys(THREAD_VARIABLES, "1")}
        self._kind = ray.remote(num_cpus=1, num_gpus=how.gpus, runtime_env=threads)(_Desk)
        self._idle: list[Any] = []
        self._busy: dict[Any, tuple[Any, Record]] = {}
        self._identity: Identity | None = None

    @property
    def identity(self) -> Identity:
        assert self._identity is not None
        return self._identity

    def start(self) -> None:
        self._idle = [self._kind.remote(self._plan) for _ in range(self._how.workers)]
        for actor in self._idle:
            self._welcome(actor)

    def _welcome(self, actor: Any) -> None:
        """Wait until an actor is ready, and see that it measures what the others do."""
        try:
            found = self._ray.get(actor.identity.remote())
        except self._ray.exceptions.RayActorError as error:
            raise _cause(error) from None
        self._identity = self._identity or found
        agree(self._identity, found)

    def end(self) -> None:
        for actor in [*self._idle, *(actor for actor, _ in self._busy.values())]:
            self._ray.kill(actor)

    def measure(self, records: Sequence[Record]) -> Iterator[Outcome]:
        waiting, deaths = list(reversed(records)), dict[int, int]()
        while waiting or self._busy:
            while waiting and self._idle:
                actor, record = self._idle.pop(), waiting.pop()
                self._busy[actor.measure.remote(record)] = (actor, record)
            (done, *_), _rest = self._ray.wait(list(self._busy), num_returns=1)
            actor, record = self._busy.pop(done)
            try:
                outcome = self._ray.get(done)
            except self._ray.exceptions.RayActorError as error:
                self._replace()
                deaths[record.case_id] = deaths.get(record.case_id, 0) + 1
                if deaths[record.case_id] < DEATHS:
                    waiting.append(record)
                else:
                    yield died(record, type(error).__name__)
                continue
            self._idle.append(actor)
            yield outcome
        self._check()

    def _check(self) -> None:
        for actor in self._idle:
            try:
                self._ray.get(actor.check.remote())
            except self._ray.exceptions.RayTaskError as error:
                raise _cause(error) from None

    def _replace(self) -> None:
        actor = self._kind.remote(self._plan)
        self._idle.append(actor)
        self._welcome(actor)


def _cause(error: Exception) -> Exception:
    """What went wrong in an actor, as one of this package's errors where it is one."""
    cause = getattr(error, "cause", None) or error
    return (
        cause
        if isinstance(cause, InputError | ArithmeticError)
        else InputError(
            f"a Ray actor could not work: {' '.join(str(cause).split())[-300:]}; look at Ray's logs"
        )
    )
