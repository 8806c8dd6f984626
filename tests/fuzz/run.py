"""Damage files and read them, in processes with a limit of time and memory; any error but the package's is found.

The law: a reader succeeds, or raises a class of `knowedit.errors` with a message of one line, within 10 seconds and
1 GB. A case is decided by the seed and its number alone.
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from random import Random

from knowedit.errors import KnoweditError
from tests.fuzz.kinds import KINDS, Kind, Lab
from tests.fuzz.mutators import damaged

SECONDS = 10.0
MEMORY = 1 << 30
LONGEST = 1500
"""Characters of a message: it is shown on a terminal."""


class TooLong(BaseException):
    """The reader took too long."""


@dataclass(frozen=True)
class Found:
    """A reader that did not keep the law.

    Attributes:
        kind: of the file.
        number: of the case.
        what: the error, or how the law was broken.
        where: the innermost line of the package.
        trace: the whole traceback.
    """

    kind: str
    number: int
    what: str
    where: str
    trace: str


def kind_of(seed: int, number: int, kinds: Sequence[Kind]) -> Kind:
    """The kind of file of a case."""
    return Random(f"kind {seed} {number}").choices(kinds, [kind.share for kind in kinds])[0]


class Worker:
    """Runs cases in a folder of its own."""

    def __init__(self, folder: Path, seed: int, kinds: Sequence[Kind] = KINDS):
        self.lab, self.seed, self.kinds = Lab(folder), seed, kinds
        self.folder = folder
        self._whole: dict[str, Path] = {}

    def file(self, kind: Kind) -> Path:
        """A whole file of a kind, made once; it has to be read without an error."""
        if kind.name not in self._whole:
            folder = self.folder / f"whole {len(self._whole)}"
            folder.mkdir()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                path = kind.make(folder, self.lab)
            self._whole[kind.name] = path
            self.read(kind, self._copy(path))
        return self._whole[kind.name]

    def damaged(self, number: int) -> tuple[Kind, Path]:
        """The damaged file of a case, with what lies beside it."""
        kind = kind_of(self.seed, number, self.kinds)
        whole = self.file(kind)
        path = self._copy(whole)
        data = damaged(kind.form, whole.read_bytes(), Random(f"case {self.seed} {number}"))
        path.write_bytes(data)
        return kind, path

    def case(self, number: int) -> Found | None:
        """What is found in a case, if anything."""
        kind, path = self.damaged(number)
        try:
            self.read(kind, path)
        except KnoweditError as error:
            return self._message(kind, number, error)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            return _found(kind, number, error)
        return None

    def read(self, kind: Kind, path: Path) -> None:
        """Read a file within the time."""
        signal.signal(signal.SIGALRM, _stop)
        signal.setitimer(signal.ITIMER_REAL, SECONDS)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                kind.read(path, self.lab)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)

    def _copy(self, path: Path) -> Path:
        place = self.folder / "case"
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(path.parent, place)
        return place / path.name

    def _message(self, kind: Kind, number: int, error: KnoweditError) -> Found | None:
        text = str(error)
        if text.strip() and "\n" not in text.strip() and len(text) <= LONGEST:
            return None
        return _found(
            kind, number, error, f"a message of {len(text)} characters and {text.count(chr(10)) + 1} lines: "
        )


def _stop(*_: object) -> None:
    raise TooLong(f"more than {SECONDS:g} s")


def _found(kind: Kind, number: int, error: BaseException, prefix: str = "") -> Found:
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if "knowedit/" in frame.filename or "claims/" in frame.filename
    ]
    last = frames[-1] if frames else None
    where = "" if last is None else f"{last.filename.rpartition('src/')[2]}:{last.lineno} {last.name}"
    text = "".join(traceback.format_exception(error, limit=-12))
    return Found(kind.name, number, f"{prefix}{type(error).__name__}: {str(error)[:160]!r}", where, text)


def limit_memory(size: int = MEMORY) -> None:
    """Let this process take at most so much more than it has now."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + size
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _work(end: object, seed: int, numbers: Sequence[int], names: Sequence[str]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with tempfile.TemporaryDirectory() as folder, Path(os.devnull).open("w") as null:
        os.dup2(null.fileno(), 1)
        os.dup2(null.fileno(), 2)
        worker = Worker(Path(folder), seed, [kind for kind in KINDS if kind.name in names])
        worker.lab.lm.generate(["Paris is"], 1)
        limit_memory()
        for number in numbers:
            end.send((number, None))
            found = worker.case(number)
            if found is not None:
                end.send((number, found))
        end.send((None, None))


def found_in(
    seed: int, numbers: Sequence[int], kinds: Sequence[Kind] = KINDS, workers: int = 1
) -> Iterator[tuple[int, Found | None]]:
    """The number of each case as it begins, and what is found; a worker that dies or hangs is a finding too."""
    context, waiting = get_context("fork"), {}
    names = [kind.name for kind in kinds]

    def start(own: Sequence[int]) -> None:
        mine, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_work, args=(theirs, seed, own, names), daemon=True)
        process.start()
        theirs.close()
        waiting[mine] = [process, own, None, time.monotonic()]

    from multiprocessing.connection import wait

    for at in range(workers):
        if numbers[at::workers]:
            start(numbers[at::workers])
    while waiting:
        for mine in wait(list(waiting), timeout=1):
            try:
                number, found = mine.recv()
            except EOFError:
                number, found = waiting[mine][2], "died"
            if number is None:
                process = waiting.pop(mine)[0]
                process.join()
            elif found == "died":
                yield from _died(waiting, mine, seed, kinds, "WorkerDied", start)
            else:
                waiting[mine][2:] = [number, time.monotonic()]
                yield number, found
        for mine in [one for one, state in waiting.items() if time.monotonic() - state[3] > 6 * SECONDS]:
            waiting[mine][0].kill()
            yield from _died(waiting, mine, seed, kinds, "Hangs", start)


def _died(waiting, mine, seed, kinds, what, start) -> Iterator[tuple[int, Found]]:
    process, own, number, _ = waiting.pop(mine)
    process.join()
    if number is None:
        raise RuntimeError(f"a worker ended before its first case (exit code {process.exitcode})")
    kind = kind_of(seed, number, kinds)
    yield number, Found(kind.name, number, f"{what}: exit code {process.exitcode}", "", "")
    rest = own[own.index(number) + 1 :]
    if rest:
        start(rest)
