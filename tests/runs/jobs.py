"""Jobs without a model, for pools; also those of the processes that `test_pool` kills."""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from knowedit.errors import InputError, NumericalError
from knowedit.runs import Workers, open_pool


@dataclass(frozen=True)
class Squares:
    """Squares of numbers.

    Attributes:
        folder: remembers which workers opened and which items killed one.
        killed_once: items whose worker is killed the first time.
        deadly: items whose worker is always killed.
        missing: opening fails.
        broken: the check fails.
        unlike: no two workers say that they measure the same.
        lost: workers that are killed while they open.
        waits_for: workers measure nothing before so many have opened.
    """

    folder: Path
    killed_once: tuple[int, ...] = ()
    deadly: tuple[int, ...] = ()
    missing: bool = False
    broken: bool = False
    unlike: bool = False
    lost: int = 0
    waits_for: int = 0

    def open(self):
        before = len(marked(self.folder, "pid"))
        (self.folder / f"{os.getpid()}.pid").touch()
        if before < self.lost:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.missing:
            raise InputError("no model of that name")
        return Station(self, {"model": str(os.getpid()) if self.unlike else "m", "threads": threads()})


@dataclass
class Station:
    job: Squares
    identity: dict

    def measure(self, item, tell):
        while len(marked(self.job.folder, "pid")) < self.job.waits_for:
            time.sleep(0.01)
        marker = self.job.folder / f"{item}.killed"
        if item in self.job.deadly or (item in self.job.killed_once and not marker.exists()):
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        (self.job.folder / f"{os.getpid()}.measured").touch()
        tell(("half", item))
        if item < 0:
            raise NumericalError("a negative number")
        return item**2

    def check(self):
        (self.job.folder / f"{os.getpid()}.checked").touch()
        if self.job.broken:
            raise NumericalError("a.weight is not what it was")


def marked(folder: Path, how: str) -> set[str]:
    return {path.stem for path in folder.glob(f"*.{how}")}


def threads() -> str:
    return os.environ.get("OMP_NUM_THREADS", "")


@dataclass(frozen=True)
class Busy:
    """Connects to a port, and is busy until it is killed: items say with what."""

    port: int

    def open(self):
        return BusyStation(socket.create_connection(("127.0.0.1", self.port)))


@dataclass
class BusyStation:
    line: socket.socket
    identity: dict = field(default_factory=dict)

    def measure(self, item, tell):
        self.line.sendall(str(item).encode())
        while item == "python":
            pass
        if item == "library":  # one call that takes an hour, and does not hold the interpreter
            hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)
        signal.pause()

    def check(self):
        pass


if __name__ == "__main__":
    with open_pool(Busy(int(sys.argv[1])), Workers(3), items=3) as pool:
        list(pool.measure(["python", "library", "nothing"]))
