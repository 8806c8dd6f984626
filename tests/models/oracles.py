"""Slow and obvious: plain forwards of the bare transformers model, one row at a time, with plain hooks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from knowedit.models import LanguageModel


@torch.no_grad()
def full_logits(lm: LanguageModel, ids: Sequence[int]) -> Tensor:
    """Logits ``(tokens, vocabulary)`` of one unpadded row, no cache, no mask, nothing of ours."""
    return lm.model(torch.tensor([list(ids)]), use_cache=False).logits[0]


_LLAMA = {
    "embedding": "model.embed_tokens",
    "blocks": "model.layers",
    "final_norm": "model.norm",
    "attention": "self_attn",
    "attention_out": "self_attn.o_proj",
    "mlp_up": "mlp.up_proj",
    "mlp_down": "mlp.down_proj",
}
_GPT = {"embedding": "transformer.wte", "blocks": "transformer.h", "final_norm": "transformer.ln_f"}
# Written out once more by hand, so that a wrong path of the package is seen.
PLACES: dict[str, dict[str, str]] = {
    "gpt2": _GPT
    | {
        "attention": "attn",
        "attention_out": "attn.c_proj",
        "mlp_up": "mlp.c_fc",
        "mlp_down": "mlp.c_proj",
    },
    "gptj": _GPT
    | {
        "attention": "attn",
        "attention_out": "attn.out_proj",
        "mlp_up": "mlp.fc_in",
        "mlp_down": "mlp.fc_out",
    },
    "gpt_neox": {
        "embedding": "gpt_neox.embed_in",
        "blocks": "gpt_neox.layers",
        "final_norm": "gpt_neox.final_layer_norm",
        "attention": "attention",
        "attention_out": "attention.dense",
        "mlp_up": "mlp.dense_h_to_4h",
        "mlp_down": "mlp.dense_4h_to_h",
    },
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": _LLAMA,
}


def block_of(lm: LanguageModel, layer: int) -> nn.Module:
    return part_of(lm, "blocks")[layer]


def part_of(lm: LanguageModel, part: str, layer: int | None = None) -> Any:
    """A module of the model, or of one of its blocks."""
    if part == "block":
        return block_of(lm, layer)
    path = {"mlp": "mlp", "head": "lm_head"} | PLACES[lm.model.config.model_type]
    return (lm.model if layer is None else block_of(lm, layer)).get_submodule(path[part])


@contextmanager
def hook(module: nn.Module, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Change a module's output, tensor or tuple."""

    def run(_module: nn.Module, _args: Any, output: Any) -> Any:
        return (change(output[0]), *output[1:]) if isinstance(output, tuple) else change(output)

    handle = module.register_forward_hook(run)
    try:
        yield
    finally:
        handle.remove()


def hook_count(lm: LanguageModel) -> int:
    return sum(
        len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in lm.model.modules()
    )
