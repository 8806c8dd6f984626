"""A model, its tokenizer and its anatomy, with what is done with them as methods."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from knowedit.models import generation
from knowedit.models.forwards import Batch, Item, batch, forward
from knowedit.models.opened import OpenedModel


class LanguageModel(OpenedModel):
    """What `knowedit.load` returns.

    Attributes:
        generate: see `knowedit.models.generate`.
        generate_ids: see `knowedit.models.generate_ids`.
    """

    generate = generation.generate
    generate_ids = generation.generate_ids

    def logits(self, items: Sequence[Item] | Batch, positions: Tensor | int | None = None) -> Tensor:
        """Logits of texts, prompts, lists of ids or a `Batch`, without gradients.

        Args:
            items: what to run.
            positions: an integer, ``(rows,)`` or ``(rows, k)`` token positions to keep; all by default.

        Returns:
            ``(rows, tokens, vocabulary)``, or ``(rows, vocabulary)``, ``(rows, k, vocabulary)``.
        """
        with torch.no_grad():
            return forward(self, batch(self, items), positions)
