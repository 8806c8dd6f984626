"""Entries of a file of records, one at a time: a JSON list, or JSON Lines. Only one entry is in memory."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from knowedit.errors import FileFormatError, InputError

CHUNK = 1 << 16
LONGEST_ESCAPE = 12
"""Characters of a surrogate pair; an error so close to the window's end may be the window's."""
LIST_START = "["
OFFICIAL_SHA256 = "d017056125178a13728594e66a801357a8db9ed7973a7425554bb4271de9fc6f"
"""Of the official ``counterfact.json``, 45,108,470 bytes, as its Git LFS pointer has it."""


@dataclass(frozen=True)
class Entry:
    """One JSON value of a file, or what is wrong with it.

    Attributes:
        line: where it begins, from 1.
        value: what it holds; None where it could not be read.
        problem: why it could not be read; else empty.
    """

    line: int
    value: Any
    problem: str = ""


def checksum(path: str | Path) -> str:
    """The hexadecimal SHA-256 of a file.

    Raises:
        InputError: there is no such file.
    """
    with _existing(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def verify_official(path: str | Path) -> None:
    """Refuse a file that is not, byte for byte, the official ``counterfact.json``.

    Raises:
        InputError: there is no such file.
        FileFormatError: it has another SHA-256.
    """
    found = checksum(path)
    if found != OFFICIAL_SHA256:
        raise FileFormatError(
            f"{path} has SHA-256 {found}, expected {OFFICIAL_SHA256}: it is not the official counterfact.json; "
            "download that again, or leave the check out for another file"
        )


def entries(path: str | Path) -> Iterator[Entry]:
    """The entries of a JSON list or of a file with one JSON object a line, whichever it is; blank lines are none.

    What cannot be read is an entry with a problem. In JSON Lines the next line goes on; in a list it is the end.

    Raises:
        InputError: there is no such file.
    """
    source = _existing(path)
    with source.open("rb") as stream:
        start = stream.read(CHUNK).removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    if start == LIST_START.encode():
        with source.open(encoding="utf-8-sig") as text:
            yield from _List(text).entries()
    else:
        yield from _lines(source)


def _existing(path: str | Path) -> Path:
    if not (source := Path(path)).is_file():
        raise InputError(
            f"there is no file {source}: expected COUNTERFACT records as a JSON list or JSON Lines"
        )
    return source


def _lines(source: Path) -> Iterator[Entry]:
    with source.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            if line.strip():
                yield _line(number, line)


def _line(number: int, line: bytes) -> Entry:
    try:
        return Entry(number, json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8")))
    except json.JSONDecodeError as error:
        return Entry(number, None, f"is not JSON ({error.msg} at column {error.colno})")
    except UnicodeDecodeError as error:
        return Entry(number, None, f"is not UTF-8 (byte {error.start + 1} of the line)")
    except RecursionError:
        return Entry(number, None, "is not JSON (nested too deeply)")


class _List:
    """Reads a JSON list by decoding one item after the other from a window of the text."""

    def __init__(self, stream: TextIO) -> None:
        self.stream, self.text, self.at, self.line = stream, "", 0, 1
        self.before = 0  # characters of the window's first line that are no longer in it
        self.ended = False
        self.decoder = json.JSONDecoder()

    def entries(self) -> Iterator[Entry]:
        try:
            yield from self._items()
        except json.JSONDecodeError as error:
            line = self.line + error.doc.count("\n", self.at, error.pos)
            column = self._column(error.doc, error.pos) + 1
            yield Entry(line, None, f"is not JSON ({error.msg} at column {column})")
        except UnicodeDecodeError:
            yield Entry(self.line, None, "is followed by what is not UTF-8")
        except RecursionError:
            yield Entry(self.line, None, "is not JSON (nested too deeply)")

    def _items(self) -> Iterator[Entry]:
        self._take("[")
        if self._next() != "]":
            yield self._item()
            while self._next() == ",":
                self._take(",")
                self._next()
                yield self._item()
        self._take("]")
        if self._next():
            raise json.JSONDecodeError("Extra data", self.text, self.at)

    def _item(self) -> Entry:
        while True:
            try:
                value, end = self.decoder.raw_decode(self.text, self.at)
                if end < len(self.text) or self.ended:
                    found = Entry(self.line, value)
                    self._move(end)
                    return found
            except json.JSONDecodeError as error:
                # An error at the window's end, or a string that is open there, may only be the window's.
                inside = error.pos < len(self.text) - LONGEST_ESCAPE and not error.msg.startswith(
                    "Unterminated"
                )
                if inside or self.ended:
                    raise
            self._read(max(CHUNK, len(self.text)))

    def _take(self, wanted: str) -> None:
        if self._next() != wanted:
            raise json.JSONDecodeError(f"Expecting {wanted!r}", self.text, self.at)
        self._move(self.at + 1)

    def _next(self) -> str:
        """The next character that is no white space; empty at the end."""
        while True:
            while self.at < len(self.text) and self.text[self.at] in " \t\r\n":
                self.line += self.text[self.at] == "\n"
                self.at += 1
            if self.at < len(self.text) or self.ended:
                return self.text[self.at : self.at + 1]
            self._read(CHUNK)

    def _move(self, end: int) -> None:
        self.line += self.text.count("\n", self.at, end)
        self.at = end

    def _column(self, text: str, at: int) -> int:
        start = text.rfind("\n", 0, at)
        return at + self.before if start < 0 else at - start - 1

    def _read(self, size: int) -> None:
        more = self.stream.read(size)
        self.before = self._column(self.text, self.at)
        self.text, self.at, self.ended = self.text[self.at :] + more, 0, not more
