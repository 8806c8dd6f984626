"""Keys and values of the tokens before the first one that changes: a causal model never changes them.

The library's own cache grows with every forward. Here the same tokens are read behind the same prefix again
and again, so the layers below hand out prefix and new tokens together and keep only the prefix.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import Cache, DynamicCache
from transformers.cache_utils import DynamicLayer

from knowedit.models.batches import Batch
from knowedit.models.forwards import run

if TYPE_CHECKING:
    from knowedit.models.language_model import LanguageModel


class _KeptLayer(DynamicLayer):  # type: ignore[misc]
    def __init__(self, keys: Tensor, values: Tensor):
        super().__init__()
        self.lazy_initialization(keys, values)
        self.keys, self.values = keys, values

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """The prefix's keys and values followed by the new ones, which are not kept."""
        return torch.cat([self.keys, key_states], dim=-2), torch.cat([self.values, value_states], dim=-2)


class KeptKeys(Cache):  # type: ignore[misc]
    """A key-value cache of fixed content, for any number of forwards.

    Attributes:
        mask: ``(rows, tokens)``, 1 for real tokens; shorter prefixes are padded on the left, so that the
            distances between tokens are the true ones (a sliding window counts them).
    """

    def __init__(self, pairs: list[tuple[Tensor, Tensor]], mask: Tensor):
        super().__init__(layers=[_KeptLayer(*pair) for pair in pairs])
        self.mask = mask

    def select(self, rows: Tensor) -> KeptKeys:
        """The cache whose row i is row ``rows[i]`` of this one."""
        pairs = [(_chosen(layer.keys, rows), _chosen(layer.values, rows)) for layer in self.layers]
        return KeptKeys(pairs, _chosen(self.mask, rows))


@torch.no_grad()
def keep_keys(lm: LanguageModel, prefixes: Batch) -> KeptKeys:
    """Read prefixes once and keep the keys and values of every layer.

    Args:
        lm: the model.
        prefixes: padded on the right; rows without any token are allowed.
    """
    # A query that sees nothing at all may come out as NaN; what an empty row reads here is masked below.
    readable = prefixes.mask.clone()
    readable[:, 0] = 1
    # Without a configuration the cache keeps everything, also in families with a sliding window.
    cache = DynamicCache()
    run(lm, prefixes.ids, readable, prefixes.positions, 0, cache)
    columns = torch.arange(prefixes.tokens, device=lm.device)
    source = columns - (prefixes.tokens - prefixes.lengths)[:, None]
    pairs = [
        (_shifted(layer.keys, source.clamp(min=0)), _shifted(layer.values, source.clamp(min=0)))
        for layer in cache.layers
    ]
    return KeptKeys(pairs, (source >= 0).long())


def _chosen(value: Tensor, rows: Tensor) -> Tensor:
    return value.index_select(0, rows.to(value.device))


def _shifted(states: Tensor, source: Tensor) -> Tensor:
    """``states[row, head, source[row, token]]`` of states ``(rows, heads, tokens, size)``."""
    index = source.to(states.device)[:, None, :, None].expand(-1, states.shape[1], -1, states.shape[3])
    return states.gather(2, index)
