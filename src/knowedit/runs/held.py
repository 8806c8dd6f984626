"""A folder that one process at a time writes to; nobody else's is written to at all."""

from __future__ import annotations

import os
from contextlib import suppress
from errno import ENOTDIR
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from filelock import FileLock, Timeout

from knowedit.errors import InputError
from knowedit.writing import LEFTOVER

LOCK: Final = ".lock"


class HeldFolder:
    """A folder, held for writing while in its ``with``; the system gives the lock back however the process ends.

    Args:
        path: the folder; made if it is not there, and removed again if nothing was begun in it.
        mark: the file by which a folder is known to be ours.

    Raises:
        InputError: it cannot be made or written, holds something else and no mark, or another process holds it.
    """

    def __init__(self, path: Path, mark: str):
        self.path = path
        self._mark = mark
        self._lock = FileLock(path / LOCK, timeout=0, thread_local=False)
        self._made: list[Path] = []

    def __enter__(self) -> Self:
        try:
            self.require_ours()
            self._make()
            self._lock.acquire()
        except Timeout:
            raise InputError(
                f"another process is writing to {self.path}: wait until it ends, or give another folder"
            ) from None
        except OSError as error:
            self._unmake()
            raise InputError(
                f"the folder {self.path} cannot be written ({error.strerror}): give another one"
            ) from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):  # Windows removes no file that is open: there it stays
            (self.path / LOCK).unlink()
        self._lock.release()
        if not (self.path / self._mark).exists():
            self._unmake()

    def require_ours(self) -> None:
        """Refuse another's folder: ours is new, has its mark, or holds nothing but what a killed process left.

        Raises:
            InputError: it holds something else, or is the folder one is in.
        """
        if (self.path / self._mark).exists():
            return
        if self.path == Path():
            raise InputError("the folder of the run is the one you are in: give the name of a new one")
        there = sorted(one.name for one in self.path.iterdir()) if self.path.is_dir() else []
        others = [name for name in there if name != LOCK and not LEFTOVER.fullmatch(name)]
        if others:
            raise InputError(
                f"{self.path} holds {others[0]} and no {self._mark}: expected a new or empty folder, or that of an "
                "earlier run; give another one"
            )

    def _make(self) -> None:
        """Make the folder and those above it that are missing, and remember which."""
        for folder in reversed((self.path, *self.path.parents)):
            if not folder.exists():
                folder.mkdir(exist_ok=True)
                self._made.append(folder)
        if not self.path.is_dir():
            raise NotADirectoryError(ENOTDIR, os.strerror(ENOTDIR))

    def _unmake(self) -> None:
        for folder in reversed(self._made):
            with suppress(OSError):  # it is not empty
                folder.rmdir()
