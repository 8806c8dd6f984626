"""Texts to gather statistics from: a value that can be read again from the start, always the same way."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from knowedit.errors import InputError
from knowedit.facts import is_unicode

PathLike: TypeAlias = str | Path
Identity: TypeAlias = dict[str, str | int | None]

SHUFFLE_BUFFER = 10_000


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


def text_list(texts: Iterable[str], *, name: str = "texts") -> Corpus:
    """The texts of a list."""
    held = tuple(texts)
    return Corpus(name, {"kind": "texts", "sha256": texts_digest(held)}, lambda: iter(held), len(held))


def text_file(path: PathLike) -> Corpus:
    """A UTF-8 file with one text a line; lines of white space only are no texts.

    The file is read once now, to know its hash and its number of texts.

    Raises:
        InputError: no such file, or it is not UTF-8, with the line.
    """
    source = _existing(path)
    return _scanned(source, {"kind": "text"}, lambda: (line for _, line in _lines(source)))


def jsonl_file(path: PathLike, field: str = "text") -> Corpus:
    """A UTF-8 file with one JSON object a line, whose ``field`` is the text.

    The whole file is checked now, so that a bad line is known before any work.

    Raises:
        InputError: no such file; a line that is not UTF-8, not a JSON object, or without a text in that
            field, with its number.
    """
    source = _existing(path)
    return _scanned(source, {"kind": "jsonl", "field": field}, lambda: _fields(source, field))


def shuffled(corpus: Corpus, seed: int, *, buffer: int = SHUFFLE_BUFFER) -> Corpus:
    """The corpus in an order drawn by ``seed``, with at most ``buffer`` texts in memory.

    Each text comes out of a buffer that is filled from the corpus, so it cannot come much earlier than
    it stands there: neighbours of more than ``buffer`` texts are not fully mixed.

    Raises:
        InputError: a buffer of less than one text.
    """
    if buffer < 1:
        raise InputError(f"the shuffle buffer is {buffer}: expected at least 1 text")
    identity = corpus.identity | {"shuffle_seed": seed, "shuffle_buffer": buffer}
    return replace(corpus, identity=identity, read=lambda: _buffered(corpus.read(), seed, buffer))


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


def texts_digest(texts: Iterable[str]) -> str:
    """One SHA-256 over texts in their order, made so that it can be continued: see `next_digest`."""
    digest = ""
    for text in texts:
        digest = next_digest(digest, text)
    return digest


def next_digest(digest: str, text: str) -> str:
    """The digest of some texts and one more: SHA-256 of the old digest, a line break, and the text."""
    return hashlib.sha256(f"{digest}\n{text}".encode("utf-8", "surrogatepass")).hexdigest()


def _existing(path: PathLike) -> Path:
    source = Path(path)
    if not source.is_file():
        raise InputError(f"there is no file {source}; expected a file of texts; check the path")
    return source


def _scanned(source: Path, identity: Identity, read: Callable[[], Iterator[str]]) -> Corpus:
    digest, size = "", 0
    for text in read():
        digest, size = next_digest(digest, text), size + 1
    if not size:
        raise InputError(f"{source} holds no text; expected one text a line; check the file")
    return Corpus(source.name, identity | {"sha256": digest}, read, size)


def _lines(source: Path) -> Iterator[tuple[int, str]]:
    """Number, from 1, and content of each line that is not blank."""
    with source.open("rb") as stream:  # only a line feed ends a line here, as in JSONL
        for number, raw in enumerate(stream, 1):
            try:
                line = raw.decode("utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                raise InputError(
                    f"{source}, line {number} is not UTF-8 ({error.reason}): save the file as UTF-8"
                ) from None
            if line.strip():
                yield number, line


def _fields(source: Path, field: str) -> Iterator[str]:
    for number, line in _lines(source):
        where = f"{source}, line {number}"
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{where} is not JSON ({error}): expected one JSON object a line") from None
        if not isinstance(entry, dict):
            raise InputError(f"{where} holds a {type(entry).__name__}: expected one JSON object a line")
        yield field_of(entry, field, where)


def field_of(entry: dict[str, object], field: str, where: str) -> str:
    """The text of an entry.

    Raises:
        InputError: it has no such field, or no text there; names the place and the fields it has.
    """
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
