"""A KV cache of the tokens before the first one that changes: a causal model never changes them.

The library's own cache grows with every forward. Here the same tokens are read behind the same prefix again
and again, so the layers below hand out prefix and new tokens together and keep only the prefix.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers import Cache, DynamicCache
from transformers.cache_utils import DynamicLayer

from knowedit.errors import InputError
from knowedit.models.forwards import Batch, forward
from knowedit.models.language_model import LanguageModel


class _PrefixLayer(DynamicLayer):  # type: ignore[misc]
    def __init__(self, keys: Tensor, values: Tensor):
        super().__init__()
        # What the library's own initialisation sets, without the tensors it makes for a growing cache.
        self.dtype, self.device, self.is_initialized = keys.dtype, keys.device, True
        self.keys, self.values = keys, values

    def before(self, token: int) -> _PrefixLayer:
        return _PrefixLayer(self.keys[..., :token, :], self.values[..., :token, :])


class PrefixCache(Cache):  # type: ignore[misc]
    """A KV cache of fixed content, for any number of forwards; see `read`."""

    def __init__(self, layers: list[_PrefixLayer], mask: Tensor, rows: Tensor | None = None) -> None:
        super().__init__(layers=layers)
        self.rows = rows
        self._whole_mask = mask

    def __repr__(self) -> str:
        return (
            f"PrefixCache({self.n_rows} rows, {self._whole_mask.shape[1]} tokens, {len(self.layers)} layers)"
        )

    @classmethod
    @torch.no_grad()
    def read(cls, lm: LanguageModel, prefixes: Batch) -> PrefixCache:
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
        forward(lm, prefixes, 0, cache=cache, mask=readable)
        columns = torch.arange(prefixes.tokens, device=lm.device)
        source = columns - (prefixes.tokens - prefixes.lengths)[:, None]
        index = source.clamp(min=0)
        layers = [
            _PrefixLayer(_shifted(layer.keys, index), _shifted(layer.values, index)) for layer in cache.layers
        ]
        return cls(layers, (source >= 0).long())

    @property
    def mask(self) -> Tensor:
        """``(rows, tokens)``, 1 for real tokens.

        Shorter prefixes are padded on the left, so that the distances between tokens are the true ones (a
        sliding window counts them).
        """
        return _chosen(self._whole_mask, self.rows)

    @property
    def n_rows(self) -> int:
        """The number of rows."""
        return len(self._whole_mask if self.rows is None else self.rows)

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        """The prefix's keys and values followed by the new ones, which are not kept."""
        layer = self.layers[layer_idx]
        keys, values = _chosen(layer.keys, self.rows), _chosen(layer.values, self.rows)
        return torch.cat([keys, key_states], dim=-2), torch.cat([values, value_states], dim=-2)

    def select(self, rows: Tensor) -> PrefixCache:
        """The cache whose row i is row ``rows[i]`` of this one; a layer's tensors are copied when it is used."""
        chosen = rows if self.rows is None else _chosen(self.rows, rows)
        return PrefixCache(self.layers, self._whole_mask, chosen)

    def before(self, token: int) -> PrefixCache:
        """The cache of the columns before ``token``: views."""
        return PrefixCache(
            [layer.before(token) for layer in self.layers], self._whole_mask[:, :token], self.rows
        )

    def extended(self, run: Callable[[PrefixCache], object]) -> PrefixCache:
        """This cache followed by the keys and values that one block makes; for that block alone.

        The block is left as soon as it has made them: no token's attention or MLP runs.

        Args:
            run: runs the block with the cache that it is given, for instance by
                ``lambda cache: resume(recording, layer, states, stop=layer + 1, cache=cache)``; no padding among
                the tokens, and one row of this cache for each row of the states.

        Raises:
            InputError: the block did not ask the cache.
        """
        try:
            run(_Leaving(self.layers, self._whole_mask, self.rows))
        except _Extended as left:
            return left.cache
        raise InputError(
            "the block did not ask for the KV cache: run a block, with a recording that was made with cache= or start="
        )


class _Extended(Exception):
    """Leaves a block that has made its keys and values; never seen outside this module."""

    def __init__(self, cache: PrefixCache) -> None:
        super().__init__()
        self.cache = cache


class _Leaving(PrefixCache):
    def update(self, key_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        layer = _PrefixLayer(*super().update(key_states, *args, **kwargs))
        mask = torch.nn.functional.pad(self.mask, (0, key_states.shape[-2]), value=1)
        raise _Extended(PrefixCache([layer] * len(self.layers), mask))


def _chosen(value: Tensor, rows: Tensor | None) -> Tensor:
    return value if rows is None else value.index_select(0, rows.to(value.device))


def _shifted(states: Tensor, source: Tensor) -> Tensor:
    """``states[row, head, source[row, token]]`` of states ``(rows, heads, tokens, size)``."""
    index = source.to(states.device)[:, None, :, None].expand(-1, states.shape[1], -1, states.shape[3])
    return states.gather(2, index)
