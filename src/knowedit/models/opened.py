"""What a language model is: a model, its tokenizer and its anatomy. What is done with one is in the files above."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from knowedit.errors import InputError
from knowedit.models.anatomies.anatomy import MODEL_PARTS, Anatomy
from knowedit.models.projection import Projection


@dataclass(frozen=True, eq=False, repr=False)
class OpenedModel:
    """A model, its tokenizer and its anatomy, held together; users meet it as `LanguageModel`.

    It only refers to the model and changes nothing on it.

    Attributes:
        model: the transformers model, in eval mode.
        tokenizer: its fast tokenizer.
        anatomy: where the model keeps its parts.
        name: what it is called in reports.
        folder: where it was loaded from, or None (a model from the Hub or from memory).
        source: what `load` opens it by, where that is not its name: the absolute path of a folder or file.
    """

    model: Any
    tokenizer: Any
    anatomy: Anatomy
    name: str
    folder: Path | None = None
    source: str | None = None

    def __repr__(self) -> str:
        shape = f"{self.n_layers} layers, width {self.width}, inner width {self.inner_width}"
        return f"{type(self).__name__}({self.name!r}, {shape}, {self.dtype}, {self.device})"

    @property
    def blocks(self) -> nn.ModuleList:
        """The transformer blocks."""
        blocks = self.model.get_submodule(self.anatomy.blocks)
        assert isinstance(blocks, nn.ModuleList)
        return blocks

    @property
    def n_layers(self) -> int:
        """The number of blocks."""
        return len(self.blocks)

    @property
    def width(self) -> int:
        """The length of a hidden state, read from the token embedding."""
        return int(self._embedding.shape[1])

    @property
    def inner_width(self) -> int:
        """The length of an MLP's inner activation, read from the first block's `mlp_down`."""
        return self.projection(0).d_in

    @property
    def vocabulary(self) -> int:
        """The number of logits; at least the tokenizer's size (GPT-J has some without a token)."""
        return int(self._embedding.shape[0])

    @property
    def device(self) -> torch.device:
        """Where the embedding is."""
        return self._embedding.device

    @property
    def dtype(self) -> torch.dtype:
        """The embedding's number format."""
        return self._embedding.dtype

    @property
    def _embedding(self) -> Tensor:
        weight = self.module("embedding").weight
        assert isinstance(weight, Tensor)
        return weight

    @property
    def max_tokens(self) -> int | None:
        """The number of positions the model has, or None if it names no limit."""
        limit = getattr(self.model.config, "max_position_embeddings", None)
        return None if limit is None else int(limit)

    @property
    def window(self) -> int | None:
        """How many tokens back the attention reaches in some layer, or None where it reaches all."""
        found = getattr(self.model.config, "sliding_window", None)
        return None if found is None else int(found)

    @property
    def end_id(self) -> int | None:
        """The id of the end-of-text token, or None."""
        return _first_id(self.tokenizer.eos_token_id, self.model.config.eos_token_id)

    @property
    def start_id(self) -> int:
        """The token from which text is generated when there is no prompt.

        Raises:
            InputError: the tokenizer and the configuration name none.
        """
        found = _first_id(self.tokenizer.bos_token_id, self.model.config.bos_token_id, self.end_id)
        if found is None:
            raise InputError(f"{self.name} has no start token: give a prompt of at least one token")
        return found

    def check_layer(self, layer: int, *, last: int | None = None) -> int:
        """``layer`` itself if there is such a block.

        Args:
            layer: a block's number, from 0.
            last: the largest number allowed; by default the last block's.

        Raises:
            InputError: outside the valid range, which the message names.
        """
        last = self.n_layers - 1 if last is None else last
        if not 0 <= layer <= last:
            raise InputError(f"{self.name} has no layer {layer}: layers go from 0 to {last}")
        return layer

    def check_room(self, tokens: int) -> None:
        """Refuse more tokens than the model has positions.

        Raises:
            InputError: with the numbers and what to shorten.
        """
        if self.max_tokens is not None and tokens > self.max_tokens:
            raise InputError(
                f"{self.name} has {self.max_tokens} positions, {tokens} tokens were asked for: "
                "shorten the prompt or generate fewer tokens"
            )

    def module(self, part: str, layer: int | None = None) -> nn.Module:
        """The module of a part: ``module("mlp", 5)``, ``module("block", 5)``, ``module("embedding")``.

        Raises:
            InputError: no such part or layer.
        """
        if layer is not None and part not in MODEL_PARTS:
            self.check_layer(layer)
        found = self.model.get_submodule(self.anatomy.path(part, layer))
        assert isinstance(found, nn.Module)
        return found

    def projection(self, layer: int, part: str = "mlp_down") -> Projection:
        """The weight matrix at the address ``(layer, part)``.

        Args:
            layer: the block's number.
            part: one of ``anatomy.projection_parts``.

        Raises:
            InputError: no such layer, no such projection, or a layer type whose orientation is not known.
        """
        if part not in self.anatomy.projection_parts:
            known = ", ".join(self.anatomy.projection_parts)
            raise InputError(f"{part!r} is not a projection of {self.name}: use one of {known}")
        return Projection.of(self.module(part, layer), layer, part, self.anatomy.path(part, layer))

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Keep autograd from tracking the weights inside the ``with``; their flags are put back on any exit."""
        tracked = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        for parameter in tracked:
            parameter.requires_grad_(False)
        try:
            yield
        finally:
            for parameter in tracked:
                parameter.requires_grad_(True)


def _first_id(*candidates: Any) -> int | None:
    for candidate in candidates:
        if isinstance(candidate, int):
            return candidate
        if isinstance(candidate, list | tuple) and candidate:  # a configuration may name several
            return int(candidate[0])
    return None
