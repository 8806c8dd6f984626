"""Texts cut into chunks of fixed content, and chunks into batches that waste little on padding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from knowedit.editing.statistics.corpus import next_digest
from knowedit.errors import InputError
from knowedit.models import LanguageModel, encode

BATCHES_A_CHUNK = 8
HALVES = (0, 1)
PROBES = 16
"""The largest number of keys that the convergence is measured on; there are at least half as many."""


@dataclass(frozen=True)
class Reading:
    """How texts become batches. Every field may change the result: the last four only by rounding.

    Attributes:
        max_texts: stop after so many texts that have a token.
        max_tokens: stop after exactly so many tokens; the last text is cut.
        window: the most tokens of a row; by default the model's positions, and no more than those.
        split: what is done with a longer text: cut off (False, as the released code does) or cut into
            several rows, each of which starts without the context before it.
        batch_tokens: the most tokens, padding included, of a forward; a single longer row is allowed.
        batch_texts: the most rows of a forward, or None.
    """

    max_texts: int | None = None
    max_tokens: int | None = None
    window: int | None = None
    split: bool = False
    batch_tokens: int = 4096
    batch_texts: int | None = None

    def __post_init__(self) -> None:
        for name in ("max_texts", "max_tokens", "window", "batch_tokens", "batch_texts"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name} is {value}: expected at least 1, or leave it out")

    def resolved(self, lm: LanguageModel) -> Reading:
        """With the window that will be used.

        Raises:
            InputError: a window longer than the model's positions.
        """
        if self.window is not None:
            lm.check_room(self.window)
        return replace(self, window=self.window or lm.max_tokens)


@dataclass(frozen=True)
class Position:
    """How far a corpus has been read.

    Attributes:
        read: texts that were taken from the corpus, empty ones included.
        texts: those that had a token.
        tokens: their tokens.
        digest: the `texts_digest` of all that were read.
    """

    read: int = 0
    texts: int = 0
    tokens: int = 0
    digest: str = ""

    @property
    def stride(self) -> int:
        """Every so-manieth text gives a key for the convergence: a power of two that leaves `PROBES`."""
        return 1 << max(0, (-(-self.texts // PROBES) - 1).bit_length())


@dataclass(frozen=True, eq=False)
class Row:
    """A text, or a piece of one, that goes through the model.

    Attributes:
        ids: its tokens.
        text: the number of its text among those with a token; even and odd ones make the two halves.
        probe: the token whose key is kept for the convergence, or None.
    """

    ids: list[int]
    text: int
    probe: int | None = None

    @property
    def half(self) -> int:
        """Which of the two `HALVES` it counts to."""
        return self.text % 2


@dataclass(frozen=True, eq=False)
class Chunk:
    """Consecutive texts: what is done as a whole or not at all.

    Attributes:
        rows: in the order of the corpus.
        end: the position after them.
    """

    rows: tuple[Row, ...]
    end: Position

    def batches(self, reading: Reading) -> Iterator[list[Row]]:
        """Rows of one half and of similar length, one forward each."""
        for half in HALVES:
            rows = sorted((row for row in self.rows if row.half == half), key=lambda row: len(row.ids))
            yield from _by_budget(rows, reading)


def _by_budget(rows: Sequence[Row], reading: Reading) -> Iterator[list[Row]]:
    batch: list[Row] = []
    for row in rows:
        full = len(batch) == reading.batch_texts or (len(batch) + 1) * len(row.ids) > reading.batch_tokens
        if batch and full:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def chunks(lm: LanguageModel, texts: Iterator[str], reading: Reading, start: Position) -> Iterator[Chunk]:
    """Chunks of about `BATCHES_A_CHUNK` batches from ``texts``, which go on from ``start``.

    What is in a chunk depends on the corpus and ``reading`` alone, not on where a run was interrupted.
    """
    here, pieces, size = start, list[tuple[int, list[int]]](), 0
    while not _finished(here, reading):
        text = next(texts, None)
        if text is None:
            break
        found = _pieces(lm, text, reading, here)
        tokens = sum(map(len, found))
        pieces += [(here.texts, ids) for ids in found]
        here = Position(
            here.read + 1, here.texts + bool(found), here.tokens + tokens, next_digest(here.digest, text)
        )
        size += tokens
        if size >= BATCHES_A_CHUNK * reading.batch_tokens:
            yield Chunk(_rows(pieces, here.stride), here)
            pieces, size = [], 0
    if pieces:
        yield Chunk(_rows(pieces, here.stride), here)


def _finished(here: Position, reading: Reading) -> bool:
    return here.texts == reading.max_texts or here.tokens == reading.max_tokens


def _pieces(lm: LanguageModel, text: str, reading: Reading, here: Position) -> list[list[int]]:
    """The rows of a text, cut where the number of tokens is reached; none for an empty text."""
    ids = encode(lm.tokenizer, text) if text else []
    left = len(ids) if reading.max_tokens is None else reading.max_tokens - here.tokens
    window = reading.window or max(len(ids), 1)
    ids = ids[: left if reading.split else min(left, window)]
    return [ids[i : i + window] for i in range(0, len(ids), window)]


def _rows(pieces: Sequence[tuple[int, list[int]]], stride: int) -> tuple[Row, ...]:
    seen: set[int] = set()
    rows = []
    for text, ids in pieces:
        wanted = text % stride == 0 and text not in seen
        seen.add(text)
        rows.append(Row(ids, text, _probe(text, len(ids)) if wanted else None))
    return tuple(rows)


def _probe(text: int, length: int) -> int:
    """A token of the text: spread evenly over texts (golden section), and no chance in it."""
    return int(length * (text * 0.6180339887498949 % 1.0))
