"""Workers in processes of their own on this machine, which end when the process that started them does."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from threading import Thread
from typing import Any, Final

from knowedit.errors import InputError, KnoweditError

THREAD_VARIABLES: Final = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
"""Read by the libraries of linear algebra when they are loaded, so they are set before a process starts."""


class Processes:
    """The transport of local processes; see `knowedit.runs.pool`.

    Args:
        job: has ``open``; each process opens a station for itself.
        threads: of each.
    """

    starts = 1
    advice = "look for an error above; without one it was probably killed because memory ran out, so give fewer workers"

    def __init__(self, job: Any, threads: int):
        self._job, self._threads = job, threads
        self._numbers = count()
        self._workers: dict[int, tuple[SpawnProcess, Connection]] = {}

    def start(self) -> int:
        """Start a process and send it the job.

        Raises:
            InputError: a job that cannot be sent.
        """
        ours, theirs = get_context("spawn").Pipe()
        process = get_context("spawn").Process(target=_work, args=(theirs,), daemon=True)
        with _environment(dict.fromkeys(THREAD_VARIABLES, str(self._threads))):
            process.start()
        theirs.close()  # so that ours ends when the process does
        number = next(self._numbers)
        self._workers[number] = (process, ours)
        try:
            self.send(number, self._job)
        except Exception as error:
            raise InputError(
                f"this work cannot be sent to another process ({error}): define its classes at the top of a module "
                "and keep no open model in it, or measure in this process, with one worker"
            ) from None
        return number

    def send(self, worker: int, item: Any) -> None:
        """Send an item, or None for the check."""
        with suppress(OSError):  # it died; that is heard at its end of the pipe
            self._workers[worker][1].send(item)

    def hear(self, told: Callable[[int, Any], None]) -> list[tuple[int, str, Any]]:
        """Wait for messages of the processes."""
        by_end = {end: number for number, (_, end) in self._workers.items()}
        news = []
        for end in wait(list(by_end)):
            assert isinstance(end, Connection)
            number = by_end[end]
            try:
                kind, value = end.recv()
            except (EOFError, OSError):
                kind, value = "lost", self._bury(number)
            if kind == "raised":
                raise value
            if kind == "told":
                told(number, value)
            else:
                news.append((number, kind, value))
        return news

    def _bury(self, worker: int) -> str:
        process, end = self._workers.pop(worker)
        process.join()
        end.close()
        return f"exit code {process.exitcode}"

    def end(self) -> None:
        """Kill all processes."""
        for process, _ in self._workers.values():
            process.kill()
        for worker in list(self._workers):
            self._bury(worker)


@contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    """What a new process inherits; afterwards it is as before."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _work(end: Connection) -> None:
    """The life of a worker: open a station, measure what comes, check when asked."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is interrupted too, and ends this process
    Thread(target=_end_with_parent, daemon=True).start()
    try:
        station = end.recv().open()
        end.send(("ready", dict(station.identity)))
        while True:
            item = end.recv()
            measured = (
                None if item is None else station.measure(item, lambda message: end.send(("told", message)))
            )
            if item is None:
                station.check()
            end.send(("done", measured))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # the parent is gone, and nobody waits for the rest
    except KnoweditError as error:
        end.send(("raised", error))


def _end_with_parent() -> None:
    """End this process as soon as its parent has ended, even while it measures: nobody waits for the result."""
    parent = parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)
