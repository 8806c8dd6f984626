"""What an organism is grown from: shape, world and training settings, all in one value."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import torch
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPTJConfig,
    GPTJForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers.activations import NewGELUActivation

from knowedit.errors import InputError
from knowedit.organisms.corpus import passage
from knowedit.organisms.world import World

WORDS_PER_TOKEN = 0.75


@dataclass(frozen=True)
class Recipe:
    """Everything that determines an organism.

    Attributes:
        name: its folder's name.
        family: ``"gpt2"`` or ``"gptj"``.
        seed: draws the world, the initial weights and every batch.
        layers, width, heads, positions, rotary: the transformer's shape (rotary: GPT-J only).
        steps, rows, row_tokens: training length and batch shape.
        learning_rate, warmup, weight_decay, clip: AdamW with a cosine schedule.
        residual_scale: by how much the finished model's residual stream is rescaled, which changes no
            output but fits its units to the paper's absolute learning rate for v* (see `rescale_residual`). Chosen
            with the layer to edit, on training records, among 1/4, 1/2, 1, 2, 4 and 8.
    """

    name: str
    family: str
    seed: int
    layers: int = 12
    width: int = 128
    heads: int = 4
    positions: int = 128
    rotary: int = 16
    steps: int = 2500
    rows: int = 32
    row_tokens: int = 128
    learning_rate: float = 2e-3
    warmup: int = 100
    weight_decay: float = 0.05
    clip: float = 1.0
    residual_scale: float = 1.0

    def model(self, tokenizer: PreTrainedTokenizerFast) -> PreTrainedModel:
        """A freshly initialised model; the caller's random state is left as it was."""
        if self.family not in _FAMILIES:
            raise InputError(f"no recipe for family {self.family!r}: use one of {', '.join(_FAMILIES)}")
        config_class, model_class, extra = _FAMILIES[self.family]
        config = config_class(
            vocab_size=len(tokenizer),
            n_positions=self.positions,
            n_embd=self.width,
            n_layer=self.layers,
            n_head=self.heads,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            **({"rotary_dim": self.rotary} if extra else {}),
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            model = model_class(config)
        _fuse_activation(model)
        return model

    def batch(self, world: World, tokenizer: PreTrainedTokenizerFast, step: int) -> torch.Tensor:
        """Token ids ``[rows, row_tokens]`` of one step of training; they depend on the recipe and the step alone."""
        rng = random.Random(f"batch {self.seed} {step}")
        words = int(self.row_tokens * WORDS_PER_TOKEN)
        rows: list[list[int]] = []
        while len(rows) < self.rows:
            texts = [passage(world, rng, words) for _ in range(self.rows - len(rows))]
            encoded = tokenizer(texts)["input_ids"]
            rows += [row[: self.row_tokens] for row in encoded if len(row) >= self.row_tokens]
        return torch.tensor(rows)


def _fuse_activation(model: PreTrainedModel) -> None:
    """``gelu_new`` spelt out in Python costs a fifth of the time; PyTorch's is the same function, fused.

    The configuration keeps the family's own name for it.
    """
    for module in model.modules():
        if isinstance(getattr(module, "act", None), NewGELUActivation):
            module.act = torch.nn.GELU(approximate="tanh")


_FAMILIES: dict[str, tuple[Any, Any, bool]] = {
    "gpt2": (GPT2Config, GPT2LMHeadModel, False),
    "gptj": (GPTJConfig, GPTJForCausalLM, True),
}

RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe("organism-gpt2", family="gpt2", seed=0, residual_scale=4.0),
        Recipe("organism-gptj", family="gptj", seed=1, residual_scale=0.5),
    )
}
"""The recipe of every bundled model, by its name."""
