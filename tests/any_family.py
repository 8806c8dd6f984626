"""Tiny random models of every family of decoders that the installed transformers knows, made from default settings."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import peft
import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from knowedit.editing import ROME, Edit
from knowedit.facts import Fact
from knowedit.linalg import SecondMoment
from knowedit.models import (
    Batch,
    LanguageModel,
    Site,
    batch,
    capture,
    discover,
    intervene,
    load,
    locate,
    target_ids,
)
from tests.conftest import TEXTS

VOCABULARY = 400
SMALL: dict[int | float, tuple[str, ...]] = {
    4: ("num_attention_heads", "n_head", "n_heads", "num_heads", "decoder_attention_heads"),
    3: ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "decoder_layers"),
    32: ("hidden_size", "n_embd", "d_model", "dim", "word_embed_proj_dim"),
    48: (
        "intermediate_size",
        "n_inner",
        "ffn_dim",
        "decoder_ffn_dim",
        "d_ff",
        "dim_ff",
        "dff",
        "ffn_hidden_size",
    ),
    64: ("max_position_embeddings", "n_positions", "max_seq_len", "max_sequence_length"),
    VOCABULARY: ("vocab_size",),
    2: ("num_key_value_heads", "num_kv_heads"),
    8: ("head_dim",),
    0: ("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id"),
    6: ("sliding_window", "window_size"),
}
"""What a small model has, by the names that configurations give it."""

OWN: dict[str, dict[str, Any]] = {
    "gptj": {"rotary_dim": 4},
    "codegen": {"rotary_dim": 4},
    "gpt_neo": {"attention_types": [[["global", "local", "global"], 1]]},
    "minicpm3": {
        "num_key_value_heads": 4,
        "qk_rope_head_dim": 4,
        "qk_nope_head_dim": 4,
        "v_head_dim": 8,
        "q_lora_rank": 16,
        "kv_lora_rank": 16,
    },
    "youtu": {
        "num_key_value_heads": 4,
        "head_dim": 4,
        "qk_rope_head_dim": 4,
        "qk_nope_head_dim": 4,
        "v_head_dim": 8,
        "q_lora_rank": 16,
        "kv_lora_rank": 16,
    },
    "lfm2": {"layer_types": ["conv", "full_attention", "conv"]},
    "gemma4_text": {"vocab_size_per_layer_input": VOCABULARY, "hidden_size_per_layer_input": 8},
    "granite": {"residual_multiplier": 0.22, "logits_scaling": 8.0, "embedding_multiplier": 12.0},
    "hyperclovax": {"residual_multiplier": 0.5, "logits_scaling": 0.125},
    "xlm": {"emb_dim": 32, "n_words": VOCABULARY},
}
"""What some families need besides."""


def default_config(family: str) -> Any:
    """The configuration that the library has for a family, and nothing smaller."""
    return AutoConfig.for_model(family)


def small_config(family: str, **fields: Any) -> Any:
    """The default configuration of a family with few layers and narrow ones."""
    default = default_config(family)
    known = default.to_dict()
    sizes = {
        name: size
        for size, names in SMALL.items()
        for name in names
        if known.get(name) is not None or (name in known and size in (2, 8))
    }
    if known.get("layer_types") is not None:
        sizes["layer_types"] = None
    return type(default)(**(sizes | OWN.get(family, {}) | fields))


def random_model(
    family: str, *, seed: int = 0, scale: float = 0.25, most: int = 4_000_000, **fields: Any
) -> PreTrainedModel:
    """A model whose norms and biases are random too: at their defaults a wrong anatomy can look right.

    Raises:
        ValueError: it would have more than ``most`` parameters.
    """
    config = small_config(family, **fields)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _check_size(config, most)
        model = AutoModelForCausalLM.from_config(config)
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        centre = 1.0 if "norm" in name.lower() and parameter.ndim == 1 and name.endswith("weight") else 0.0
        parameter.data.copy_(centre + scale * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def _check_size(config: Any, most: int) -> None:
    try:
        with torch.device("meta"):
            size = sum(weight.numel() for weight in AutoModelForCausalLM.from_config(config).parameters())
    except (TypeError, NotImplementedError, RuntimeError):
        return  # some families cannot be made without memory
    if size > most:
        raise ValueError(f"{size} parameters")


def every_family() -> tuple[str, ...]:
    """The model types that the installed transformers opens as causal language models."""
    return tuple(sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES))


def goes_through(model: PreTrainedModel, tokenizer: Any, folder: Path) -> LanguageModel:
    """Open a model by its modules alone, edit it, take the edit back, and export it in both ways.

    Raises:
        KnoweditError: the model is refused.
        AssertionError: something is not what it has to be.
    """
    name = model.config.model_type
    lm = LanguageModel(model, tokenizer, discover(model, tokenizer, name), name)
    ids = batch(lm, [TEXTS[0][:20], TEXTS[1][:40]])
    before, weights = lm.logits(ids), {key: value.clone() for key, value in model.state_dict().items()}
    edit = small_edit(lm)
    found = probability_with_value(lm, edit)
    assert edit.diagnostics is not None
    assert abs(found / (edit.diagnostics.probability or 1) - 1) < 1e-3
    assert edit.outcome is not None
    assert found > edit.outcome.before[0].new
    with edit.applied(lm):
        edited = lm.logits(ids)
    assert not torch.equal(edited, before)
    assert torch.equal(lm.logits(ids), before)
    assert all(torch.equal(value, weights[key]) for key, value in model.state_dict().items())
    check_exports(lm, edit, ids, edited, folder)
    return lm


FACT = Fact(subject="Edmund Neupert", prompt="{} plays the", target_new=" piano")


def small_edit(lm: LanguageModel) -> Edit:
    """One fact by ROME, whose prompt begins with the subject."""
    keys = torch.randn(1000, lm.inner_width, generator=torch.Generator().manual_seed(7))
    moment = SecondMoment.zeros(lm.inner_width, like=keys).update(keys)
    free = {"max_offset": None, "weight_decay": 0.0, "kl_factor": 0.0}
    return ROME(layer=1, statistics=moment, prefixes=("",), max_steps=8, **free).edit(lm, [FACT])


def probability_with_value(lm: LanguageModel, edit: Edit) -> float:
    """P[o*] in a plain forward in which the edited matrix acts on the subject's last token alone."""
    prompt = locate(lm, FACT.prompt, FACT.subject)
    target = target_ids(lm.tokenizer, FACT.text, FACT.target_new)
    ids, site = [*prompt.ids, *target[:-1]], Site(1, "mlp_down")
    with capture(lm, [Site(1, "mlp_down", "input")]) as seen:
        lm.logits([ids])
    with edit.applied(lm):
        values = lm.projection(1).apply(*seen.values()).detach()

    def put(value: torch.Tensor) -> torch.Tensor:
        value[:, prompt.last_subject] = values[:, prompt.last_subject]
        return value

    with intervene(lm, {site: put}):
        logits = lm.logits([ids])[0, len(prompt.ids) - 1 :].log_softmax(-1)
    return float(logits.gather(-1, torch.tensor(target)[:, None]).sum().exp())


def check_exports(lm: LanguageModel, edit: Edit, ids: Batch, edited: torch.Tensor, folder: Path) -> None:
    """The merged folder, opened again, and the adapter, on the model and merged into it, compute what the edit does."""
    edit.merged(lm, folder / "merged")
    again = load(folder / "merged", anatomy=lm.anatomy)
    assert _close(again.logits(ids), edited)
    edit.to_peft(folder / "lora")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adapted = peft.PeftModel.from_pretrained(lm.model, folder / "lora")
        both = [_logits(adapted, ids), _logits(adapted.merge_and_unload(), ids)]
    assert all(_close(found, edited) for found in both)


@torch.no_grad()
def _logits(model: Any, ids: Batch) -> torch.Tensor:
    return model(
        input_ids=ids.ids, attention_mask=ids.mask, position_ids=ids.positions, use_cache=False
    ).logits


def _close(found: torch.Tensor, expected: torch.Tensor) -> bool:
    return bool((found - expected).abs().max() <= 1e-4 * expected.abs().max())
