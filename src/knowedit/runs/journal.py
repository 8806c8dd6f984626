"""What runs stood on before `RunFolder`; it goes when the last of them has moved."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from knowedit.errors import FileFormatError, InputError
from knowedit.runs.lines import SEAL, sealed
from knowedit.runs.manifest import MANIFEST, differences


def unsealed(line: bytes) -> dict[str, Any] | None:
    """The content of a line with its line break, or None where a byte of it is missing or another."""
    try:
        content = json.loads(line)
        seal = content.pop(SEAL)
        return content if sealed(content) == line and isinstance(seal, str) else None
    except (ValueError, KeyError, AttributeError, TypeError):
        return None


@dataclass(frozen=True)
class Lines:
    """What a file of sealed lines holds.

    Attributes:
        contents: of the whole lines, in their order.
        end: the byte after the last of them; what follows was not written to its end.
        rest: what follows.
    """

    contents: list[dict[str, Any]]
    end: int
    rest: bytes


def read_lines(path: Path, advice: str) -> Lines:
    """Read all whole lines.

    Only the last line can be unfinished, since a line is flushed to the disk before the next is begun.

    Args:
        path: the file.
        advice: what to do about a line that is not as it was written.

    Raises:
        FileFormatError: a line before the last is not as it was written.
    """
    contents: list[dict[str, Any]] = []
    end = 0
    pieces = [piece for piece in re.split(rb"(?<=\n)", path.read_bytes()) if piece]
    for number, piece in enumerate(pieces, start=1):
        content = unsealed(piece)
        if content is None:
            if number < len(pieces):
                raise damaged_line(number, path, advice)
            return Lines(contents, end, piece)
        contents.append(content)
        end += len(piece)
    return Lines(contents, end, b"")


def damaged_line(number: int, path: Path, advice: str) -> FileFormatError:
    """The error that names a line, from 1."""
    return FileFormatError(f"line {number} of {path} is not as it was written: {advice}")


def try_lock(number: int) -> bool:
    """Lock an open file for this process, which gives it back however it ends; False if another one has it.

    Args:
        number: the descriptor.
    """
    import fcntl  # not on Windows, where nothing else of this package would miss it

    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def append_line(number: int, line: bytes, path: Path) -> None:
    """Append one line and wait until it is on the disk; after an error the file ends where it did.

    Args:
        number: the descriptor of the file, opened for reading and appending.
        line: with its line break.
        path: for the message.

    Raises:
        InputError: the disk is full, or the file cannot be written.
    """
    before = os.fstat(number).st_size
    try:
        rest = memoryview(line)
        while rest:
            rest = rest[os.write(number, rest) :]
        os.fsync(number)
    except OSError as error:
        _cut(number, before)
        raise InputError(
            f"{path} cannot be written ({error.strerror}): the lines before are safe; make room and give the "
            "same command again"
        ) from None


def _cut(number: int, size: int) -> None:
    try:
        os.ftruncate(number, size)
    except OSError:  # the unfinished line is then dropped by who reads it
        return


def manifest_bytes(content: Mapping[str, Any], *, allow_nan: bool = True) -> bytes:
    """The content of the file.

    Raises:
        ValueError: a number that is NaN or infinite, unless they are allowed.
    """
    return (json.dumps(content, indent=1, ensure_ascii=False, allow_nan=allow_nan) + "\n").encode()


def read_manifest(folder: Path, kind: str, schema: int, title: str) -> dict[str, Any] | None:
    """The manifest of a run's folder, or None where there is none.

    Args:
        folder: the run's.
        kind: what its ``kind`` has to be.
        schema: what its ``schema`` has to be.
        title: what the run is called, with its article.

    Raises:
        FileFormatError: it is not one of that kind and schema.
    """
    path = folder / MANIFEST
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise FileFormatError(f"{path} is not JSON ({error}): restore it, or give another folder") from None
    if not isinstance(found, dict) or (found.get("kind"), found.get("schema")) != (kind, schema):
        raise FileFormatError(
            f"{path} is not the manifest of {title} of schema {schema}: give another folder"
        )
    return found


def require_same(folder: Path, there: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    """Refuse to go on with another run; compares what both say.

    Raises:
        InputError: with every difference.
    """
    if listed := differences(there, here):
        raise InputError(
            f"{folder} belongs to another run: {listed}; ask for the same to go on with it, or give another "
            "folder"
        )


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
