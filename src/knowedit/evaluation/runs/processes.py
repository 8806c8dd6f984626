"""Workers in processes of their own, with one thread each."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Final

import torch

from knowedit.errors import InputError, KnoweditError
from knowedit.evaluation.records.record import Record
from knowedit.evaluation.runs.executors import DEATHS, Crew, agree, died
from knowedit.evaluation.runs.folder import Outcome
from knowedit.evaluation.runs.job import Identity, Plan

# Read by the BLAS libraries when they are loaded, so it has to be set before a process starts.
THREAD_VARIABLES: Final = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True)
class Processes:
    """Measures in new processes of this machine; each opens the plan for itself.

    One thread each, whatever their number: the order of sums, and so the last digits, depend on it.
    The main module of the program is imported by each, so a script keeps its work under
    ``if __name__ == "__main__"``.

    Attributes:
        workers: how many.

    Raises:
        InputError: fewer than one.
    """

    workers: int = 1

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise InputError(f"{self.workers} workers cannot measure anything: give at least one")

    @contextmanager
    def open(self, plan: Plan) -> Iterator[Crew]:
        """Start the processes; the first to be ready says what is measured.

        Raises:
            InputError: a plan that cannot be opened, or a process that ended before it was ready.
        """
        crew = _Crew(plan)
        try:
            crew.start(self.workers)
            yield crew
        finally:
            crew.end()


@dataclass
class _Worker:
    process: SpawnProcess
    record: Record | None = None
    ready: bool = False


class _Crew:
    """Hands a record to each worker, and the next when its outcome is there."""

    def __init__(self, plan: Plan):
        self._plan = plan
        self._workers: dict[Connection, _Worker] = {}
        self._identity: Identity | None = None
        self._waiting: list[Record] = []
        self._deaths: dict[int, int] = {}

    @property
    def identity(self) -> Identity:
        assert self._identity is not None
        return self._identity

    def start(self, workers: int) -> None:
        for _ in range(workers):
            self._hire()
        while self._identity is None:
            for end in self._reporting():
                self._hear(end)

    def end(self) -> None:
        for worker in self._workers.values():
            worker.process.kill()
        for end, worker in self._workers.items():
            worker.process.join()
            end.close()
        self._workers.clear()

    def measure(self, records: Sequence[Record]) -> Iterator[Outcome]:
        self._waiting = list(reversed(records))
        left = len(records)
        while left:
            for end, worker in self._workers.items():
                self._occupy(end, worker)
            for end in self._reporting():
                for outcome in self._hear(end):
                    left -= 1
                    yield outcome
        self._dismiss()

    def _hire(self) -> None:
        ours, theirs = get_context("spawn").Pipe()
        process = get_context("spawn").Process(target=_work, args=(theirs, self._plan), daemon=True)
        with _one_thread():
            process.start()
        theirs.close()  # so that ours ends when the process does
        self._workers[ours] = _Worker(process)

    def _occupy(self, end: Connection, worker: _Worker) -> None:
        if worker.ready and worker.record is None and self._waiting:
            worker.record = self._waiting.pop()
            try:
                end.send(worker.record)
            except OSError:  # it died; that is heard at its end of the pipe
                return

    def _reporting(self) -> list[Connection]:
        return [end for end in wait(list(self._workers)) if isinstance(end, Connection)]

    def _hear(self, end: Connection) -> list[Outcome]:
        """What one message brings: at most one outcome."""
        worker = self._workers[end]
        try:
            message = end.recv()
        except (EOFError, OSError):
            return self._replace(end, worker)
        if isinstance(message, Exception):
            raise message
        if isinstance(message, Outcome):
            worker.record = None
            return [message]
        self._identity = self._identity or message
        agree(self._identity, message)
        worker.ready = True
        return []

    def _replace(self, end: Connection, worker: _Worker) -> list[Outcome]:
        """A process has died: its record is measured again by another, but not for ever."""
        worker.process.join()
        end.close()
        del self._workers[end]
        why = f"exit code {worker.process.exitcode}"
        if not worker.ready:
            raise InputError(
                f"a worker ended before it was ready ({why}): look for an error above; without one it was "
                "probably killed for want of memory, so give fewer --workers"
            )
        self._hire()
        if worker.record is None:
            return []
        deaths = self._deaths[worker.record.case_id] = self._deaths.get(worker.record.case_id, 0) + 1
        if deaths == DEATHS:
            return [died(worker.record, why)]
        self._waiting.append(worker.record)
        return []

    def _dismiss(self) -> None:
        """Let every worker check its model; one that never measured anything has nothing to check."""
        for end, worker in list(self._workers.items()):
            if not worker.ready:
                continue
            end.send(None)
            try:
                message = end.recv()
            except (EOFError, OSError):
                raise InputError(
                    "a worker ended before it could check its model: give the same command again"
                ) from None
            if isinstance(message, Exception):
                raise message


@contextmanager
def _one_thread() -> Iterator[None]:
    """The environment that a new process inherits; afterwards it is as before."""
    before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _work(end: Connection, plan: Plan) -> None:
    """The life of a worker: open, measure what comes, check the model at the end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is interrupted too, and ends this process
    torch.set_num_threads(1)
    try:
        station = plan.open()
        end.send(dict(station.identity))
        while (record := end.recv()) is not None:
            end.send(station.measure(record))
        station.check()
        end.send(None)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # the parent is gone, and nobody waits for the rest
    except KnoweditError as error:
        end.send(error)
