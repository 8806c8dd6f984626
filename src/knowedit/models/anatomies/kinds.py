"""Models that are no plain decoder, told apart before anything is measured on them: each is refused by its kind."""

from __future__ import annotations

from typing import Any

from torch import nn
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
)

from knowedit.errors import InputError

ENCODER = "an encoder: what it computes at a token depends on later tokens"
ENCODER_DECODER = "an encoder-decoder, or the decoder of one: its blocks also read an encoder's states"
SEVERAL = (
    "multimodal, or else made of several models: more than one decoder makes up what it reads and writes"
)
RECURRENT = (
    "a state-space, recurrent or convolution model: its tokens do not reach each other by attention alone"
)
EXPERTS = "a mixture of experts: no single matrix ends its MLP"


def refuse_kind(name: str, kind: str | None) -> None:
    """Raise the one line that says which kind a model is; nothing for None.

    Raises:
        InputError: the model is of a kind that has no anatomy.
    """
    if kind is not None:
        raise InputError(f"{name} is {kind}; use a decoder whose blocks each have one attention and one MLP")


def kind_by_config(config: Any) -> str | None:
    """The kind that a configuration tells, or None where it may be a decoder. Nothing is loaded."""
    tests = (
        (ENCODER_DECODER, _has_encoder),
        (SEVERAL, _has_several),
        (RECURRENT, _keeps_state),
        (EXPERTS, lambda found: _has_experts(found.to_dict())),
        (RECURRENT, _has_other_layers),
        (ENCODER, _fills_masks),
    )
    return next((kind for kind, test in tests if test(config)), None)


def _has_encoder(config: Any) -> bool:
    return config.is_encoder_decoder or config.model_type in MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES


def _has_several(config: Any) -> bool:
    others = (getattr(config, part, None) for part in config.sub_configs)
    several = any(getattr(other, "num_hidden_layers", None) for other in others)
    return several or config.get_text_config(decoder=True) is not config


def _keeps_state(config: Any) -> bool:
    known = MODEL_FOR_CAUSAL_LM_MAPPING
    return type(config) in known and bool(getattr(known[type(config)], "_is_stateful", False))


def _has_experts(fields: dict[str, Any]) -> bool:
    inside = any(_has_experts(value) for value in fields.values() if isinstance(value, dict))
    return inside or any("expert" in str(name) and _many(value) for name, value in fields.items())


def _many(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 1


def _has_other_layers(config: Any) -> bool:
    kinds = map(str, getattr(config, "layer_types", None) or ())
    return any(word in kind for kind in kinds for word in ("linear", "conv", "mamba", "recurrent", "hybrid"))


def _fills_masks(config: Any) -> bool:
    return config.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES and not getattr(config, "is_decoder", True)


def kind_by_modules(blocks: list[nn.Module], reached: set[nn.Module]) -> str | None:
    """The kind that the modules of the blocks tell, or None.

    Args:
        blocks: the blocks.
        reached: the modules that a forward on text alone has called.
    """
    modules = [module for block in blocks for module in block.modules()]
    lists = [part for part in modules if isinstance(part, nn.ModuleList)]
    if any(isinstance(module, nn.Conv1d) for module in modules):
        return RECURRENT
    stacked = any(weight.ndim > 2 for block in blocks for weight in block.parameters())
    if stacked or any(len(part) > 1 for part in lists):
        return EXPERTS
    idle = [module for module in modules if isinstance(module, nn.Linear) and module not in reached]
    return ENCODER_DECODER if idle else None
