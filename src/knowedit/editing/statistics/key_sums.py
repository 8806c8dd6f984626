"""Texts in chunks of fixed content, run through the model, and the sums of their keys for each layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from knowedit.editing.statistics.corpus import Position
from knowedit.errors import InputError, NumericalError
from knowedit.linalg import OuterSum, SecondMoment
from knowedit.models import LanguageModel, Site, batch, encode, visit
from knowedit.reading import shown

HALVES = (0, 1)

Arrays: TypeAlias = dict[str, NDArray[Any]]


class _Row(NamedTuple):
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


@dataclass(frozen=True)
class Reading:
    """How texts become batches. Every field may change the result: the last three only by rounding.

    Attributes:
        max_texts: stop after this number of texts that have a token.
        max_tokens: stop after exactly this number of tokens; the last text is cut.
        window: the most tokens of a row; by default the model's positions, and no more than those.
        split: what is done with a longer text: cut off (False, as the released code does) or cut into
            several rows, each of which starts without the context before it.
        batch_tokens: the most tokens, padding included, of a forward; a single longer row is allowed.
        batch_texts: the most rows of a forward, or None.
        block: consecutive texts of at least this number of full batches are done as a whole or not at all.
    """

    max_texts: int | None = None
    max_tokens: int | None = None
    window: int | None = None
    split: bool = False
    batch_tokens: int = 4096
    batch_texts: int | None = None
    block: int = 8

    def __post_init__(self) -> None:
        for name in ("max_texts", "max_tokens", "window", "batch_tokens", "batch_texts", "block"):
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

    def share(self, here: Position, size: int | None) -> float | None:
        """How much of a corpus of ``size`` texts is read, from 0 to 1, or None where nobody knows how much there is."""
        texts = [limit for limit in (size, self.max_texts) if limit is not None]
        shares = [here.texts / min(texts)] if texts else []
        if self.max_tokens is not None:
            shares.append(here.tokens / self.max_tokens)
        return min(1.0, max(shares)) if shares else None

    def chunks(
        self, lm: LanguageModel, texts: Iterator[str], start: Position
    ) -> Iterator[tuple[list[list[_Row]], Position]]:
        """The batches of consecutive texts, one forward each, and the position after them.

        ``texts`` continue from ``start``. What is in a chunk depends on the corpus and the reading alone, not on
        where a run was interrupted.
        """
        here, pieces, size = start, list[tuple[int, list[int]]](), 0
        while here.texts != self.max_texts and here.tokens != self.max_tokens:
            text = next(texts, None)
            if text is None:
                break
            found = self._pieces(lm, text, here)
            tokens = sum(map(len, found))
            pieces += [(here.texts, ids) for ids in found]
            here, size = here.after(text, tokens), size + tokens
            if size >= self.block * self.batch_tokens:
                yield self._batches(_rows(pieces, here.stride)), here
                pieces, size = [], 0
        if pieces:
            yield self._batches(_rows(pieces, here.stride)), here

    def _pieces(self, lm: LanguageModel, text: str, here: Position) -> list[list[int]]:
        """The rows of a text, cut where the number of tokens is reached; none for an empty text."""
        ids = encode(lm.tokenizer, text) if text else []
        left = len(ids) if self.max_tokens is None else self.max_tokens - here.tokens
        window = self.window or max(len(ids), 1)
        ids = ids[: left if self.split else min(left, window)]
        return [ids[i : i + window] for i in range(0, len(ids), window)]

    def _batches(self, rows: Sequence[_Row]) -> list[list[_Row]]:
        """Rows of one half and of similar length."""
        batches: list[list[_Row]] = []
        for half in HALVES:
            batch: list[_Row] = []
            for row in sorted((row for row in rows if row.half == half), key=lambda row: len(row.ids)):
                full = len(batch) == self.batch_texts or (len(batch) + 1) * len(row.ids) > self.batch_tokens
                if batch and full:
                    batches.append(batch)
                    batch = []
                batch.append(row)
            batches += [batch] if batch else []
        return batches


def _rows(pieces: Sequence[tuple[int, list[int]]], stride: int) -> list[_Row]:
    seen: set[int] = set()
    rows = []
    for text, ids in pieces:
        wanted = text % stride == 0 and text not in seen
        seen.add(text)
        rows.append(_Row(ids, text, _probe(text, len(ids)) if wanted else None))
    return rows


def _probe(text: int, length: int) -> int:
    """A token of the text: spread evenly over texts (golden section), and no chance in it."""
    return int(length * (text * 0.6180339887498949 % 1.0))


class KeySums:
    """For each layer the sum of k kᵀ over both halves of the text, and some keys.

    Attributes:
        position: how far the corpus was read; it and the sums always belong together between chunks.
    """

    def __init__(self, lm: LanguageModel, layers: Sequence[int], part: str):
        self.position = Position()
        self._lm = lm
        self._sites = {layer: Site(layer, part, "input") for layer in layers}
        dims = {layer: lm.projection(layer, part).d_in for layer in layers}
        # Some devices have no float64: then the sums are on the host.
        self._home = lm.device if lm.device.type == "cuda" else torch.device("cpu")
        self._sums = {
            (layer, half): self._outer_sum(np.zeros((dims[layer], dims[layer])), 0)
            for layer in layers
            for half in HALVES
        }
        self._probes: dict[int, dict[int, NDArray[np.float64]]] = {layer: {} for layer in layers}

    def add(
        self,
        batches: Sequence[Sequence[_Row]],
        end: Position,
        *,
        after_batch: Callable[[int], None] | None = None,
    ) -> None:
        """Run a chunk through the model; ``after_batch`` is told the tokens of each batch.

        Raises:
            NumericalError: a key that is NaN or infinite; names the layer and the texts.
        """
        for rows in batches:
            visit(
                self._lm,
                batch(self._lm, [row.ids for row in rows]),
                {site: partial(self._take, layer, rows) for layer, site in self._sites.items()},
            )
            if after_batch is not None:
                after_batch(sum(len(row.ids) for row in rows))
        self._require_finite(end)
        self.position = end
        for layer, kept in self._probes.items():
            self._probes[layer] = {n: key for n, key in kept.items() if n % end.stride == 0}

    def _take(self, layer: int, rows: Sequence[_Row], keys: Tensor) -> None:
        """Add the keys ``(rows, tokens, d_in)`` of real tokens."""
        total = self._sums[layer, rows[0].half]
        for i, row in enumerate(rows):
            total.add(keys[i, : len(row.ids)])
            if row.probe is not None:
                self._probes[layer][row.text] = keys[i, row.probe].double().cpu().numpy()

    def _require_finite(self, end: Position) -> None:
        for (layer, _half), total in self._sums.items():
            if not total.is_finite():
                raise NumericalError(
                    f"an input of {self._sites[layer].part} in layer {layer} of {self._lm.name} is NaN or "
                    f"infinite, in one of the texts {self.position.read} to {end.read - 1} (counted from "
                    "0); load the model in a wider number format, or leave the text out"
                )

    def halves(self, layer: int) -> tuple[SecondMoment, SecondMoment]:
        """The moments of the even and of the odd texts."""
        first, second = (self._sums[layer, half] for half in HALVES)
        return SecondMoment(first.total(), first.count), SecondMoment(second.total(), second.count)

    def moment(self, layer: int) -> SecondMoment:
        """The moment of all texts."""
        first, second = self.halves(layer)
        return first.merge(second)

    def keys(self, layer: int) -> NDArray[np.float64]:
        """Keys spread over the texts, ``(m, d_in)``."""
        kept = self._probes[layer]
        return np.stack([kept[n] for n in sorted(kept)])

    def state(self) -> tuple[Arrays, dict[str, str]]:
        """All of it, as tensors and text; `restore` is the inverse."""
        arrays = {f"sum.{layer}.{half}": total.state() for (layer, half), total in self._sums.items()}
        arrays |= {f"keys.{layer}": self.keys(layer) for layer in self._probes}
        counts = {f"count.{layer}.{half}": str(total.count) for (layer, half), total in self._sums.items()}
        here = self.position
        place = {"read": here.read, "texts": here.texts, "tokens": here.tokens, "digest": here.digest}
        return arrays, counts | {name: str(value) for name, value in place.items()}

    def restore(self, arrays: Mapping[str, NDArray[Any]], entries: Mapping[str, str]) -> None:
        """Resume, to the bit, from what `state` gave.

        Raises:
            KeyError, ValueError: something is missing, or has another shape or is no number.
        """
        read, texts, tokens = (_count(entries, name) for name in ("read", "texts", "tokens"))
        position = Position(read, texts, tokens, entries["digest"])
        sums = {(layer, half): self._stored_sum(arrays, entries, layer, half) for layer, half in self._sums}
        numbers = range(0, texts, position.stride)
        probes = {}
        for layer, site in self._sites.items():
            keys = _fitting(
                arrays[f"keys.{layer}"], (len(numbers), self._lm.projection(layer, site.part).d_in)
            )
            probes[layer] = dict(zip(numbers, keys, strict=True))
        self.position, self._sums, self._probes = position, sums, probes

    def _stored_sum(
        self, arrays: Mapping[str, NDArray[Any]], entries: Mapping[str, str], layer: int, half: int
    ) -> OuterSum:
        width = self._lm.projection(layer, self._sites[layer].part).d_in
        total = _fitting(arrays[f"sum.{layer}.{half}"], (width, width))
        return self._outer_sum(total, _count(entries, f"count.{layer}.{half}"))

    def _outer_sum(self, start: NDArray[Any], count: int) -> OuterSum:
        return OuterSum(torch.from_numpy(start).to(self._home), count)


def _count(entries: Mapping[str, str], name: str) -> int:
    text = entries[name]
    if not (text.isascii() and text.isdecimal() and len(text) < 16):
        raise ValueError(f"{name} is {shown(text)}")
    return int(text)


def _fitting(array: NDArray[Any], shape: tuple[int, int]) -> NDArray[Any]:
    if array.shape != shape or array.dtype != np.float64 or not np.isfinite(array).all():
        raise ValueError(
            f"it has {array.dtype} of shape {array.shape} where {shape} is expected, or no finite numbers"
        )
    return array
