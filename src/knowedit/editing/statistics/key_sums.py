"""The sums that a pass over a corpus keeps for each layer, chunk after chunk."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from knowedit.editing.statistics.text_chunks import HALVES, Chunk, Position, Reading, Row
from knowedit.errors import NumericalError
from knowedit.linalg import OuterSum, SecondMoment
from knowedit.models import LanguageModel, Site, batch, visit

Arrays: TypeAlias = dict[str, NDArray[Any]]


class KeySums:
    """For each layer the sum of k kᵀ over both halves of the text, and some keys.

    Attributes:
        position: how far the corpus was read; it and the sums always belong together between chunks.
    """

    def __init__(self, lm: LanguageModel, layers: Sequence[int], part: str, reading: Reading):
        self.position = Position()
        self._lm, self._reading = lm, reading
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

    def add(self, chunk: Chunk, *, after_batch: Callable[[int], None] | None = None) -> None:
        """Run a chunk through the model; ``after_batch`` is told the tokens of each batch.

        Raises:
            NumericalError: a key that is NaN or infinite; names the layer and the texts.
        """
        for rows in chunk.batches(self._reading):
            visit(
                self._lm,
                batch(self._lm, [row.ids for row in rows]),
                {site: partial(self._take, layer, rows) for layer, site in self._sites.items()},
            )
            if after_batch is not None:
                after_batch(sum(len(row.ids) for row in rows))
        self._require_finite(chunk)
        self.position = chunk.end
        for layer, kept in self._probes.items():
            self._probes[layer] = {n: key for n, key in kept.items() if n % chunk.end.stride == 0}

    def _take(self, layer: int, rows: Sequence[Row], keys: Tensor) -> None:
        """Add the keys ``(rows, tokens, d_in)`` of real tokens."""
        total = self._sums[layer, rows[0].half]
        for i, row in enumerate(rows):
            total.add(keys[i, : len(row.ids)])
            if row.probe is not None:
                self._probes[layer][row.text] = keys[i, row.probe].double().cpu().numpy()

    def _require_finite(self, chunk: Chunk) -> None:
        for (layer, _half), total in self._sums.items():
            if not total.is_finite():
                raise NumericalError(
                    f"an input of {self._sites[layer].part} in layer {layer} of {self._lm.name} is NaN or "
                    f"infinite, in one of the texts {self.position.read} to {chunk.end.read - 1} (counted from "
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
        """Go on, to the bit, from what `state` gave."""
        read, texts, tokens = (int(entries[name]) for name in ("read", "texts", "tokens"))
        self.position = Position(read, texts, tokens, entries["digest"])
        for layer, half in self._sums:
            count = int(entries[f"count.{layer}.{half}"])
            self._sums[layer, half] = self._outer_sum(arrays[f"sum.{layer}.{half}"], count)
        for layer in self._probes:
            numbers = range(0, texts, self.position.stride)
            self._probes[layer] = dict(zip(numbers, arrays[f"keys.{layer}"], strict=True))

    def _outer_sum(self, start: NDArray[Any], count: int) -> OuterSum:
        return OuterSum(torch.from_numpy(start).to(self._home), count)
