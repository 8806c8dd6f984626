"""Several prompts in one forward: right padding with an explicit mask and explicit positions.

With padding on the right, causal attention alone keeps a real token from seeing a pad; the mask and
the positions are given all the same, so that nothing depends on what the library guesses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import Tensor

from knowedit.errors import InputError
from knowedit.models.prompts import Prompt, encode

if TYPE_CHECKING:
    from knowedit.models.language_model import LanguageModel

Item: TypeAlias = "str | Prompt | Sequence[int]"


@dataclass(frozen=True, eq=False)
class Batch:
    """Token ids padded on the right.

    Attributes:
        ids: ``(rows, tokens)``; what stands in the padding has no influence.
        mask: ``(rows, tokens)``, 1 for real tokens.
        positions: ``(rows, tokens)``, ``0, 1, 2, ...`` in each row.
        lengths: ``(rows,)``, the number of real tokens.
    """

    ids: Tensor
    mask: Tensor
    positions: Tensor
    lengths: Tensor

    @property
    def rows(self) -> int:
        """How many prompts."""
        return int(self.ids.shape[0])

    @property
    def tokens(self) -> int:
        """The length of the longest prompt."""
        return int(self.ids.shape[1])

    @property
    def last(self) -> Tensor:
        """``(rows,)``: the position of each row's last real token."""
        return self.lengths - 1


def token_ids(lm: LanguageModel, item: Item) -> list[int]:
    """The token ids of a text, a `Prompt` or ids."""
    if isinstance(item, str):
        return encode(lm.tokenizer, item)
    return list(item.ids if isinstance(item, Prompt) else item)


def batch(lm: LanguageModel, items: Sequence[Item], *, pad_id: int = 0) -> Batch:
    """Put texts, prompts or lists of ids into one `Batch` on the model's device.

    Args:
        lm: the model; its tokenizer reads the texts.
        items: one row each.
        pad_id: any valid id.

    Raises:
        InputError: no rows, a row without tokens, a text instead of a list of texts, more tokens
            than the model has positions.
    """
    if isinstance(items, str):
        raise InputError("a single text was given where a list of texts belongs: write [text]")
    rows = [token_ids(lm, item) for item in items]
    if not rows or not all(rows):
        raise InputError(
            "a batch needs at least one row and each row at least one token: drop the empty ones"
        )
    width = max(map(len, rows))
    lm.check_room(width)
    ids = torch.full((len(rows), width), pad_id, dtype=torch.long)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row)
    return _explicit(ids.to(lm.device), torch.tensor([len(row) for row in rows], device=lm.device))


def _explicit(ids: Tensor, lengths: Tensor) -> Batch:
    positions = torch.arange(ids.shape[1], device=ids.device).expand(ids.shape).contiguous()
    return Batch(ids, (positions < lengths[:, None]).long(), positions, lengths)


def as_batch(lm: LanguageModel, items: Sequence[Item] | Batch) -> Batch:
    """``items`` itself if it is a `Batch`, else `batch` of it."""
    return items if isinstance(items, Batch) else batch(lm, items)
