"""Lines of JSON that show whether they are whole, in a file that is only appended to."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from knowedit.errors import FileFormatError

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
    end = 0
    data = path.read_bytes() if path.is_file() else b""
    for number, piece in enumerate(filter(None, re.split(rb"(?<=\n)", data)), start=1):
        content = _unsealed(piece)
        if content is None:
            if piece.endswith(b"\n") or whole:
                raise FileFormatError(f"line {number} of {path} is not as it was written: {advice}")
            break
        contents.append(content)
        end += len(piece)
    return contents, end


def _unsealed(line: bytes) -> dict[str, Any] | None:
    """The content of a line with its line break, or None where a byte of it is missing or another."""
    try:
        content = json.loads(line)
        seal = content.pop(SEAL)
        return content if sealed(content) == line and isinstance(seal, str) else None
    except (ValueError, KeyError, AttributeError, TypeError):
        return None
