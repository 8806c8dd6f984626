"""Texts to gather statistics from: a value that can be read again from the start, always the same way."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from knowedit.errors import InputError
from knowedit.facts import is_unicode
from knowedit.reading import decoded, parsed

PathLike: TypeAlias = str | Path
Identity: TypeAlias = dict[str, str | int | None]

SHUFFLE_BUFFER = 10_000


PROBES = 16
"""The largest number of keys that the convergence is measured on; there are at least half as many."""


@dataclass(frozen=True)
class Position:
    """How far a corpus has been read.

    Attributes:
        read: texts that were taken from the corpus, empty ones included.
        texts: those that had a token.
        tokens: their tokens.
        digest: one SHA-256 over all that were read, in their order.
    """

    read: int = 0
    texts: int = 0
    tokens: int = 0
    digest: str = ""

    @classmethod
    def over(cls, texts: Iterable[str]) -> Position:
        """The position after some texts, whose tokens are not counted."""
        here = cls()
        for text in texts:
            here = here.after(text)
        return here

    def after(self, text: str, tokens: int = 0) -> Position:
        """The position after one more text; the digest is that of the old digest, a line break, and the text."""
        content = f"{self.digest}\n{text}".encode("utf-8", "surrogatepass")
        return Position(
            self.read + 1,
            self.texts + bool(tokens),
            self.tokens + tokens,
            hashlib.sha256(content).hexdigest(),
        )

    @property
    def stride(self) -> int:
        """One text in this number gives a key for the convergence: a power of two that leaves `PROBES`."""
        return 1 << max(0, (-(-self.texts // PROBES) - 1).bit_length())


@dataclass(frozen=True, eq=False)
class Corpus:
    """Texts in a fixed order.

    Attributes:
        name: what it is called in reports; it does not decide whether two corpora are the same.
        identity: what does: the kind, a hash or revision of the content, and how it is read.
        read: gives the texts from the start; called again it gives the same.
        size: the number of texts, or None when it is not known beforehand.
    """

    name: str
    identity: Identity
    read: Callable[[], Iterator[str]]
    size: int | None = None

    @classmethod
    def of(cls, texts: Iterable[str], *, name: str = "texts") -> Corpus:
        """The texts of a list."""
        held = tuple(texts)
        identity: Identity = {"kind": "texts", "sha256": Position.over(held).digest}
        return cls(name, identity, lambda: iter(held), len(held))

    @staticmethod
    def fields(entries: Iterable[tuple[str, object]], field: str) -> Iterator[str]:
        """The text in one field of each entry.

        Args:
            entries: the place of each, for messages, and the entry.
            field: the field.

        Raises:
            InputError: no such field, or no text in it; names the place and the fields that there are.
        """
        for where, entry in entries:
            yield _text_of(entry, field, where)

    def shuffled(self, seed: int, *, buffer: int = SHUFFLE_BUFFER) -> Corpus:
        """The corpus in an order drawn by ``seed``, with at most ``buffer`` texts in memory.

        Each text comes out of a buffer that is filled from the corpus, so it cannot come much earlier than in the
        corpus: neighbors of more than ``buffer`` texts are not fully mixed.

        Raises:
            InputError: a buffer of less than one text.
        """
        if buffer < 1:
            raise InputError(f"the shuffle buffer is {buffer}: expected at least 1 text")
        identity = self.identity | {"shuffle_seed": seed, "shuffle_buffer": buffer}
        return replace(self, identity=identity, read=lambda: _buffered(self.read(), seed, buffer))


def text_file(path: PathLike, field: str | None = None) -> Corpus:
    """A UTF-8 file with one text a line; or, with a ``field``, one JSON object a line that has the text there.

    Lines of white space only are no texts. The whole file is read once now: to know its hash and its number of texts,
    and so that a bad line is known before any work.

    Raises:
        InputError: no such file; a line that is not UTF-8, not a JSON object, or without a text in that
            field, with its number.
    """
    source = Path(path)
    if not source.is_file():
        raise InputError(f"there is no file {source}; expected a file of texts; check the path")
    identity: Identity = {"kind": "text"} if field is None else {"kind": "jsonl", "field": field}

    def read() -> Iterator[str]:
        if field is None:
            return (line for _, line in _lines(source))
        return Corpus.fields(_entries(source), field)

    seen = Position.over(read())
    if not seen.read:
        raise InputError(f"{source} holds no text; expected one text a line; check the file")
    return Corpus(source.name, identity | {"sha256": seen.digest}, read, seen.read)


def _buffered(texts: Iterator[str], seed: int, size: int) -> Iterator[str]:
    draw = random.Random(seed)
    held: list[str] = []
    for text in texts:
        if len(held) < size:
            held.append(text)
            continue
        i = draw.randrange(size)
        found, held[i] = held[i], text
        yield found
    draw.shuffle(held)
    yield from held


def _lines(source: Path) -> Iterator[tuple[int, str]]:
    """Number, from 1, and content of each line that is not blank."""
    with source.open("rb") as stream:  # only a line feed ends a line here, as in JSONL
        for number, raw in enumerate(stream, 1):
            line = decoded(raw, f"{source}, line {number}").rstrip("\r\n")
            if line.strip():
                yield number, line


def _entries(source: Path) -> Iterator[tuple[str, object]]:
    for number, line in _lines(source):
        where = f"{source}, line {number}"
        yield where, parsed(line, where, "expected one JSON object a line")


def _text_of(entry: object, field: str, where: str) -> str:
    if not isinstance(entry, dict):
        raise InputError(f"{where} holds a {type(entry).__name__}: expected one JSON object a line")
    if field not in entry:
        raise InputError(f"{where} has no field {field!r}: its fields are {_named(list(entry))}")
    found = entry[field]
    if not isinstance(found, str):
        raise InputError(f"{where} has a {type(found).__name__} in the field {field!r}: expected a text")
    if not is_unicode(found):
        raise InputError(
            f"{where} has half of a surrogate pair in the field {field!r}: expected valid Unicode"
        )
    return found


def _named(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names) or "none"
