"""Lines of JSON that know whether they are whole, in a file that is only appended to."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from knowedit.errors import FileFormatError, InputError

SEAL: Final = "sha256"
DIGITS: Final = 16


def canonical(value: Any) -> str:
    """The one JSON text of a value: keys sorted, no spaces.

    Raises:
        ValueError: a number that is NaN or infinite.
    """
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)


def sealed(content: Mapping[str, Any]) -> bytes:
    """One line: the content and, under ``sha256``, the first digits of its SHA-256.

    Raises:
        ValueError: a number that is NaN or infinite.
    """
    text = canonical(content)
    seal = hashlib.sha256(text.encode()).hexdigest()[:DIGITS]
    return f'{text[:-1]},"{SEAL}":"{seal}"}}\n'.encode()


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
