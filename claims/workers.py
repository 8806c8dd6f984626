"""Models measured in processes of their own, a few at a time."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess

import torch

from claims.models import model_name
from claims.registry import Sections
from claims.run import for_models, on_model, without
from claims.settings import Settings
from claims.verdicts import Result

# Read by the BLAS libraries when they are loaded, so it has to be set before a process starts.
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")

Report = Callable[[str, int, int], None]
"""Called with a model's source, the steps done and all steps."""


@dataclass
class Crew:
    """Runs `on_model` for each source; leaving the ``with`` ends what still runs.

    Attributes:
        sections: what is measured.
        settings: how.
        size: processes at a time.
        threads: of each process: the order of sums, and so the last digits, depend on it.
    """

    sections: Sections
    settings: Settings
    size: int = 2
    threads: int = 1
    _running: dict[Connection, tuple[str, SpawnProcess]] = field(default_factory=dict)

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *_: object) -> None:
        for _source, process in self._running.values():
            process.terminate()
            process.join()
        self._running.clear()

    def measure(self, sources: Sequence[str], report: Report) -> list[Result]:
        """The results of all sources, in their order; where a process died they are errors."""
        waiting, found = list(sources), dict[str, list[Result]]()
        while waiting or self._running:
            while waiting and len(self._running) < self.size:
                self._start(waiting.pop(0))
            for end in wait(list(self._running)):
                assert isinstance(end, Connection)
                self._receive(end, found, report)
        return [result for source in sources for result in found[source]]

    def _start(self, source: str) -> None:
        os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(self.threads)))
        context = get_context("spawn")
        ours, theirs = context.Pipe(duplex=False)
        arguments = (theirs, source, self.sections, self.settings, self.threads)
        process = context.Process(target=_work, args=arguments, daemon=True)
        process.start()
        theirs.close()  # so that ours ends when the process does
        self._running[ours] = (source, process)

    def _receive(self, end: Connection, found: dict[str, list[Result]], report: Report) -> None:
        source, process = self._running[end]
        try:
            message = end.recv()
        except EOFError:
            process.join()
            message = self._died(source, process)
        if isinstance(message, list):
            found[source] = message
            process.join()
            del self._running[end]
        else:
            report(source, *message)

    def _died(self, source: str, process: SpawnProcess) -> list[Result]:
        error = RuntimeError(
            f"its process ended with exit code {process.exitcode}: look for an error above; "
            "without one it was probably killed for want of memory"
        )
        claims = [claim for section in self.sections for claim in for_models(section)]
        return without(model_name(source), claims, error)


def _work(end: Connection, source: str, sections: Sections, settings: Settings, threads: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is interrupted too, and ends this process
    torch.set_num_threads(threads)
    tell = partial(_tell, end)
    tell(on_model(source, sections, settings, lambda done, of: tell((done, of))))


def _tell(end: Connection, message: list[Result] | tuple[int, int]) -> None:
    try:
        end.send(message)
    except BrokenPipeError:  # the parent is gone, and nobody waits for the rest
        raise SystemExit(1) from None
