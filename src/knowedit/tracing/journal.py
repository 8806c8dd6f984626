"""A file that one process at a time appends records to; what a killed process wrote stays."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any

from knowedit.errors import FileFormatError, InputError

SUM = "sha256"


class Journal:
    """JSON records, one a line, each with a digest of itself.

    Use it in a ``with`` block: it locks the file, so that no second process writes to it. The lock goes with
    the process, however it ends. A line without its end, as a killed process leaves it, is cut off.

    Args:
        path: the file; created if it is not there. Its folder must exist.

    Raises:
        InputError: another process has it, or it cannot be written.
        FileFormatError: a whole line that is not as it was written; its number is named.
    """

    def __init__(self, path: Path):
        self._path = path
        self.records: list[dict[str, Any]] = []

    def __enter__(self) -> Journal:
        try:
            # Unbuffered: a record is handed to the system in one piece.
            self._stream = self._path.open("a+b", buffering=0)
        except OSError as error:
            raise InputError(
                f"{self._path} cannot be written ({error.strerror}): give another folder"
            ) from None
        try:
            self._lock()
            self.records = self._read()
        except BaseException:
            self._stream.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()

    def append(self, record: dict[str, Any]) -> None:
        """Write a record at the end, and wait until it is on the disk."""
        line = json.dumps(record | {SUM: _digest(record)}, ensure_ascii=False) + "\n"
        self._stream.write(line.encode())
        os.fsync(self._stream.fileno())
        self.records.append(record)

    def _lock(self) -> None:
        try:
            fcntl.flock(self._stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(
                f"another process writes to {self._path}: wait until it has ended, or give another folder"
            ) from None

    def _read(self) -> list[dict[str, Any]]:
        self._stream.seek(0)
        *lines, torn = self._stream.read().split(b"\n")
        if torn:
            self._stream.truncate(sum(len(line) + 1 for line in lines))
        return [self._record(number, line) for number, line in enumerate(lines, 1)]

    def _record(self, number: int, line: bytes) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads(line)
            whole = found.pop(SUM) == _digest(found)
        except (ValueError, KeyError, AttributeError, TypeError):
            whole = False
        if not whole:
            raise FileFormatError(
                f"line {number} of {self._path} is not as it was written: remove that line and those after it to "
                "measure them again, or give another folder"
            )
        return found


def _digest(record: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()[:16]
