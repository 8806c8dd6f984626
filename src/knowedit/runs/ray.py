"""Workers as actors of a Ray cluster, on one machine or many; needs the extra ``ray``."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import count
from typing import Any

from knowedit.errors import InputError, KnoweditError
from knowedit.runs.processes import THREAD_VARIABLES


def _see_listener(address: str) -> None:
    """Ray would try without end to reach a ``HOST:PORT`` at which nobody listens.

    Raises:
        OSError: nobody does.
    """
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=10).close()


class RayActors:
    """The transport of actors; see `knowedit.runs.pool`.

    Work begins with the first actor that is ready; those for which the cluster has no room join when it has. What a
    station tells is dropped.

    Args:
        ray: the module, connected.
        job: has ``open``; each actor opens a station for itself.
        threads: of each.
        gpus: of each; without one it sees none.

    Raises:
        InputError: no machine of the cluster is large enough for an actor, which would be waited for without end.
    """

    starts = 5
    advice = "look at Ray's logs"

    @staticmethod
    @contextmanager
    def connected(address: str, workers: int) -> Iterator[Any]:
        """The module ``ray``, connected to a cluster; a connection that this process has is used and kept.

        Args:
            address: of the cluster, or ``auto``; ``local`` starts one on this machine.
            workers: for how many a new cluster has room.

        Raises:
            InputError: Ray is not installed, or there is no cluster.
        """
        if find_spec("ray") is None:
            raise InputError("Ray is not installed: pip install 'knowedit[ray]', or leave out --ray")
        import ray

        if ray.is_initialized():
            yield ray
            return
        room = {"num_cpus": workers, "include_dashboard": False} if address == "local" else {}
        try:
            _see_listener(address)
            ray.init(address=address, **room, log_to_driver=False, configure_logging=False)
        except (OSError, RuntimeError, ValueError, ImportError, ray.exceptions.RayError) as error:
            raise InputError(
                f"no connection to a Ray cluster at {address}: {_line(error)}; start one with "
                "`ray start --head` and give its address, or --ray local"
            ) from None
        try:
            yield ray
        finally:
            ray.shutdown()

    def __init__(self, ray: Any, job: Any, threads: int, gpus: float):
        self._ray, self._job = ray, job
        there = ray.cluster_resources()
        for kind, needed in (("CPU", 1.0), ("GPU", gpus)):
            if there.get(kind, 0.0) < needed:
                raise InputError(
                    f"the Ray cluster has {there.get(kind, 0.0):g} {kind}s and each worker needs {needed:g}: "
                    "add machines that have them with `ray start`, or choose another --device"
                )
        environment = {"env_vars": dict.fromkeys(THREAD_VARIABLES, str(threads))}
        self._kind = ray.remote(num_cpus=1, num_gpus=gpus, runtime_env=environment)(_Actor)
        self._numbers = count()
        self._actors: dict[int, Any] = {}
        self._tasks: dict[Any, tuple[int, str]] = {}  # what is under way: its worker, and the news it brings

    def start(self) -> int:
        """Start an actor."""
        number = next(self._numbers)
        self._actors[number] = self._kind.remote(self._job)
        self._tasks[self._actors[number].open.remote()] = (number, "ready")
        return number

    def send(self, worker: int, item: Any) -> None:
        """Hand an item to an actor, or None for the check."""
        self._tasks[self._actors[worker].measure.remote(item)] = (worker, "done")

    def hear(self, _told: Callable[[int, Any], None]) -> list[tuple[int, str, Any]]:
        """Wait for the next actor that has a result or is lost.

        Raises:
            KnoweditError: one that the station raised.
            InputError: a station that cannot be opened.
        """
        (done, *_), _rest = self._ray.wait(list(self._tasks), num_returns=1)
        worker, kind = self._tasks.pop(done)
        try:
            return [(worker, kind, self._ray.get(done))]
        except self._ray.exceptions.RayError as error:
            cause = getattr(error, "cause", None)  # what the code in an actor raised; None where it was lost
            if isinstance(cause, KnoweditError):
                raise cause from None
            if kind == "ready" and isinstance(cause, Exception):
                raise InputError(f"a Ray actor could not start: {_line(error)}; look at Ray's logs") from None
            self._ray.kill(self._actors.pop(worker))  # it may only be out of reach
            return [(worker, "lost", type(error).__name__)]

    def end(self) -> None:
        """Kill all actors."""
        for actor in self._actors.values():
            self._ray.kill(actor)


class _Actor:
    """A station, in its process."""

    def __init__(self, job: Any):
        self._job = job

    def open(self) -> Mapping[str, Any]:
        self._station = self._job.open()
        return dict(self._station.identity)

    def measure(self, item: Any) -> Any:
        return self._station.check() if item is None else self._station.measure(item, _drop)


def _drop(_: Any) -> None:
    """What becomes of a message."""


def _line(error: Exception) -> str:
    """The last line of an error's message."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][-300:] if lines else type(error).__name__
