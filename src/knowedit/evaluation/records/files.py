"""Entries of a file of records, one at a time: a JSON list, JSON Lines, or objects spread over lines; or one of these
compressed by gzip. Only one entry is in memory.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TextIO, cast

import ijson

from knowedit.errors import FileFormatError, InputError

CHUNK = 1 << 16
"""Characters of a list that are parsed at once; a line that is shorter is parsed at once."""
DEEPEST = 100
"""Lists and objects within each other, at most. Records have seven."""
QUOTED = 100
"""Characters of a parser's complaint, which may quote a number of any length, that are told at most."""
MARK = b"\xef\xbb\xbf"
"""A byte order mark in UTF-8."""
GZIP = b"\x1f\x8b"
"""The first bytes of what gzip compressed."""
HUGE = "is not JSON (a number of thousands of digits)"
OFFICIAL_SHA256 = "d017056125178a13728594e66a801357a8db9ed7973a7425554bb4271de9fc6f"
"""Of the official ``counterfact.json``, 45,108,470 bytes, as its Git LFS pointer has it."""


@dataclass(frozen=True)
class Entry:
    """One JSON value of a file, or what is wrong with it.

    Attributes:
        where: the line where it begins, from 1, or the row: for instance ``line 41``.
        value: what it holds; None where it could not be read.
        problem: why it could not be read; else empty.
    """

    where: str
    value: Any
    problem: str = ""


def checksum(path: str | Path, *, official: bool = False) -> str:
    """The hexadecimal SHA-256 of a file, or of the names and SHA-256s of the ``*.jsonl`` files of a folder.

    Args:
        path: the file or folder.
        official: refuse what is not, byte for byte, the official ``counterfact.json``.

    Raises:
        InputError: there is no such file.
        FileFormatError: it is not the official file, where that is asked for.
    """
    source = Path(path)
    if source.is_dir():
        lines = [f"{file.name} {checksum(file)}\n" for file in sorted(source.glob("*.jsonl"))]
        found = hashlib.sha256("".join(lines).encode()).hexdigest()
    else:
        with _existing(source).open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
    if official and found != OFFICIAL_SHA256:
        raise FileFormatError(
            f"{path} has SHA-256 {found}, expected {OFFICIAL_SHA256}: it is not the official counterfact.json; "
            "download that again, or leave the check out for another file"
        )
    return found


def entries(path: str | Path) -> Iterator[Entry]:
    """The entries of a JSON list, of a file with one JSON object a line, or with objects that are spread over lines.

    Which it is, is seen at its beginning; blank lines are none, and neither is a byte order mark. What gzip compressed
    is known by its first bytes. What cannot be read is an entry with a problem. In JSON Lines reading continues with
    the next line; in the other two it ends.

    Raises:
        InputError: there is no such file.
    """
    source = _existing(path)
    where = "the beginning"
    try:
        with _opened(source) as stream:
            read = _lines if _has_lines(stream) else _values
            stream.seek(0)
            for entry in read(stream):
                where = entry.where
                yield entry
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        yield Entry(f"after {where}", None, f"cannot be unpacked ({error}): the gzip file is damaged")


def _existing(path: str | Path) -> Path:
    if not (source := Path(path)).is_file():
        raise InputError(f"there is no file {source}: expected records as a JSON list or JSON Lines")
    return source


def _opened(source: Path) -> IO[bytes]:
    with source.open("rb") as stream:
        packed = stream.read(len(GZIP)) == GZIP
    return cast(IO[bytes], gzip.open(source, "rb")) if packed else source.open("rb")


def _has_lines(stream: IO[bytes]) -> bool:
    """Whether each line is a value of its own, so that the first one ends and the second one begins one."""
    head = stream.read(CHUNK).removeprefix(MARK).lstrip()
    first, _, rest = head.partition(b"\n")
    if head[:1] == b"[" or (first.rstrip()[-1:] in (b"{", b"[", b",") and rest.strip()):
        return False
    return head[:1] != b"{" or first.rstrip()[-1:] == b"}" or rest.lstrip()[:1] in (b"", b"{")


def _lines(stream: IO[bytes]) -> Iterator[Entry]:
    for number, line in enumerate(stream, start=1):
        if line.strip():
            yield _line(number, line)


def _line(number: int, line: bytes) -> Entry:
    where = f"line {number}"
    try:
        return Entry(where, json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8")))
    except json.JSONDecodeError as error:
        return Entry(where, None, f"is not JSON ({error.msg} at column {error.colno})")
    except UnicodeDecodeError as error:
        return Entry(where, None, f"is not UTF-8 (byte {error.start + 1} of the line)")
    except RecursionError:
        return Entry(where, None, "is not JSON (nested too deeply)")
    except ValueError:
        return Entry(where, None, HUGE)


def _values(stream: IO[bytes]) -> Iterator[Entry]:
    """The items of a list, or objects one after the other."""
    # The pure Python parser reads numbers and strings as the json module does: the one in C replaces half a
    # surrogate pair by "?", and refuses integers of more than 64 bits.
    parser = ijson.get_backend("python")
    listed = stream.read(CHUNK).removeprefix(MARK).lstrip()[:1] == b"["
    stream.seek(0)
    with io.TextIOWrapper(stream, encoding="utf-8-sig") as readable:
        text = _Text(readable)
        try:
            events = parser.basic_parse(text, use_float=True, multiple_values=not listed)
            yield from _items(events, text, outside=int(listed))
        except (ijson.JSONError, json.JSONDecodeError) as error:
            if text.readable:
                yield Entry(text.where, None, f"is not JSON ({text.named(error)})")
        except RecursionError:
            yield Entry(text.where, None, "is not JSON (nested too deeply)")
        except ValueError:
            yield Entry(text.where, None, HUGE)
        if not text.readable:
            yield Entry(text.where, None, "is followed by what is not UTF-8")


def _items(events: Iterable[tuple[str, Any]], text: _Text, *, outside: int) -> Iterator[Entry]:
    """Build the values that are ``outside`` lists deep from the parser's events, one after the other."""
    depth, where, builder = 0, "", ijson.ObjectBuilder()
    for event, value in events:
        opens, closes = event.startswith("start_"), event.startswith("end_")
        inside = depth - closes >= outside
        if depth == outside and inside:
            where, builder = text.where, ijson.ObjectBuilder()
        if inside:
            builder.event(event, value)
        depth += opens - closes
        if inside and depth == outside:
            yield Entry(where, builder.value)
        if depth > DEEPEST:
            raise RecursionError


class _Text:
    """Gives a parser a text line by line, long lines part by part, so that what it finds is in the current line.

    Attributes:
        readable: whether all of it was UTF-8 so far; it ends where it is not.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._ended, self.readable = stream, False, True
        self._line, self._start, self._read = 1, 0, 0  # the line, and characters before it and so far

    def read(self, size: int) -> bytes:
        """What is left of the line, at most `CHUNK` characters; nothing at the end, or if nothing is asked for."""
        if not size:
            return b""
        if self._ended:
            self._line, self._start = self._line + 1, self._read
        try:
            text = self._stream.readline(CHUNK)
        except UnicodeDecodeError:
            text, self.readable = "", False
        self._ended, self._read = text.endswith("\n"), self._read + len(text)
        return text.encode()

    @property
    def where(self) -> str:
        """The current line."""
        return f"line {self._line}"

    def named(self, error: Exception) -> str:
        """What is wrong; a place in the text becomes a column of the current line."""
        found = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
        words, _, place = found.rpartition(" at ")
        shown = words if len(words) <= QUOTED else f"{words[:QUOTED]}..."
        return f"{shown} at column {int(place) - self._start + 1}" if place.isdigit() and words else found
