"""A file that one process at a time appends records to; what a killed process wrote stays."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import Any

from knowedit.errors import InputError
from knowedit.runs.lines import append_line, damaged_line, read_lines, sealed, try_lock


class Journal:
    """JSON records, one a line, each with a digest of itself.

    Use it in a ``with`` block: it locks the file, so that no second process writes to it. The lock goes with
    the process, however it ends. A line without its end, as a killed process leaves it, is cut off.

    Args:
        path: the file; created if it is not there. Its folder must exist.
        advice: what to do about a line that is not as it was written.

    Raises:
        InputError: another process has it, or it cannot be written.
        FileFormatError: a whole line that is not as it was written; its number is named.
    """

    def __init__(self, path: Path, advice: str):
        self._path, self._advice = path, advice
        self.records: list[dict[str, Any]] = []

    def __enter__(self) -> Journal:
        try:
            self._number = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        except OSError as error:
            raise InputError(f"{self._path} cannot be written ({error.strerror}): give another one") from None
        try:
            self._lock()
            self.records = self._read()
        except BaseException:
            os.close(self._number)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._number)

    def append(self, record: dict[str, Any]) -> None:
        """Write a record at the end, and wait until it is on the disk.

        Raises:
            InputError: the disk is full, or the file cannot be written; the lines before are as they were.
        """
        append_line(self._number, sealed(record), self._path)
        self.records.append(record)

    def _lock(self) -> None:
        if not try_lock(self._number):
            raise InputError(
                f"another process writes to {self._path}: wait until it has ended, or give another one"
            )

    def _read(self) -> list[dict[str, Any]]:
        lines = read_lines(self._path, self._advice)
        if lines.rest.endswith(b"\n"):
            raise damaged_line(len(lines.contents) + 1, self._path, self._advice)
        os.ftruncate(self._number, lines.end)
        return lines.contents
