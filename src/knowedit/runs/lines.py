"""Lines of JSON that show whether they are whole and in their place, in a file that is only appended to."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from knowedit.errors import FileFormatError
from knowedit.reading import parsed

SEAL: Final = "sha256"
DIGITS: Final = 16
NUMBER: Final = "line"
"""The entry with a line's number, from 1; lines of earlier versions have none."""


def canonical(value: Any) -> str:
    """The one JSON text of a value: keys sorted, no spaces.

    Raises:
        ValueError: a number that is NaN or infinite.
    """
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)


def sealed(content: Mapping[str, Any], number: int | None = None) -> bytes:
    """One line: the content and, under ``sha256``, the first digits of its SHA-256.

    Args:
        content: without the entries ``line`` and ``sha256``.
        number: the line's place in its file, from 1, which becomes its entry ``line``.

    Raises:
        ValueError: a number that is NaN or infinite.
    """
    text = canonical({**content, **({} if number is None else {NUMBER: number})})
    seal = hashlib.sha256(text.encode()).hexdigest()[:DIGITS]
    return f'{text[:-1]},"{SEAL}":"{seal}"}}\n'.encode()


def read_lines(path: Path, advice: str, *, whole: bool = False) -> tuple[list[dict[str, Any]], int]:
    """The contents of all whole lines in their order, and the byte after the last of them.

    Only the last line can be unfinished, since a line is flushed to the disk before the next is begun.

    Args:
        path: the file; without one there are no lines.
        advice: what to do about a line that is not as it was written.
        whole: an unfinished last line is an error too.

    Raises:
        FileFormatError: a line that is not as it was written; its number is named.
    """
    contents: list[dict[str, Any]] = []
    end, numbered = 0, False
    data = path.read_bytes() if path.is_file() else b""
    for place, piece in enumerate(filter(None, re.split(rb"(?<=\n)", data)), start=1):
        content = _unsealed(piece)
        if content is None:
            if piece.endswith(b"\n") or whole:
                raise FileFormatError(f"line {place} of {path} is not as it was written: {advice}")
            break
        number = content.pop(NUMBER, None)
        if (numbered or number is not None) and (number != place or type(number) is not int):
            raise FileFormatError(f"{_misplaced(path, place, number)}: {advice}")
        numbered = number is not None
        contents.append(content)
        end += len(piece)
    return contents, end


def _misplaced(path: Path, place: int, number: Any) -> str:
    if type(number) is int and number > place:
        missing = f"line {place}" if number == place + 1 else f"lines {place} to {number - 1}"
        return f"{path} lacks {missing}: the next line there is number {number}"
    return f"line {place} of {path} has the number {number}, so it was moved, or is there twice"


def _unsealed(line: bytes) -> dict[str, Any] | None:
    """The content of a line with its line break, or None where a byte of it is missing or another."""
    try:
        content = parsed(line, "the line", "restore it")
        seal = content.pop(SEAL)
        return content if sealed(content) == line and isinstance(seal, str) else None
    except (ValueError, KeyError, AttributeError, TypeError):
        return None
