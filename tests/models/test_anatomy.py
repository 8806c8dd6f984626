"""Paths and shapes: of the paper's two models, and of one published model of each other family."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from knowedit.errors import InputError
from knowedit.models import FAMILIES, LanguageModel, load
from tests.conftest import TINY
from tests.models.oracles import PLACES, part_of

# The published configurations.
GPT2_XL = {
    "n_layer": 48,
    "n_head": 25,
    "n_embd": 1600,
    "n_positions": 1024,
    "n_ctx": 1024,
    "vocab_size": 50257,
}
GPT_J = {
    "n_layer": 28,
    "n_head": 16,
    "n_embd": 4096,
    "n_positions": 2048,
    "vocab_size": 50400,
    "rotary_dim": 64,
    "n_inner": None,
    "tie_word_embeddings": False,
}
PYTHIA_7B = {
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "hidden_size": 4096,
    "intermediate_size": 16384,
    "max_position_embeddings": 2048,
    "vocab_size": 50432,
}
LLAMA_3_8B = {
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "max_position_embeddings": 8192,
    "vocab_size": 128256,
}
MISTRAL_7B = LLAMA_3_8B | {"max_position_embeddings": 32768, "vocab_size": 32000, "sliding_window": 4096}
QWEN2_7B = {
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "max_position_embeddings": 32768,
    "vocab_size": 152064,
}
REAL = {
    "gpt2": GPT2_XL,
    "gptj": GPT_J,
    "gpt_neox": PYTHIA_7B,
    "llama": LLAMA_3_8B,
    "mistral": MISTRAL_7B,
    "qwen2": QWEN2_7B,
}
GROUPED_7B = {
    "attention_in.0": (4096, 4096),
    "attention_in.1": (1024, 4096),
    "attention_in.2": (1024, 4096),
    "attention_out": (4096, 4096),
    "mlp_up": (14336, 4096),
    "mlp_down": (4096, 14336),
}
SHAPES = {
    "gpt2": {
        "attention_in": (4800, 1600),
        "attention_out": (1600, 1600),
        "mlp_up": (6400, 1600),
        "mlp_down": (1600, 6400),
    },
    "gptj": {
        "attention_in.0": (4096, 4096),
        "attention_in.1": (4096, 4096),
        "attention_in.2": (4096, 4096),
        "attention_out": (4096, 4096),
        "mlp_up": (16384, 4096),
        "mlp_down": (4096, 16384),
    },
    "gpt_neox": {
        "attention_in": (12288, 4096),
        "attention_out": (4096, 4096),
        "mlp_up": (16384, 4096),
        "mlp_down": (4096, 16384),
    },
    "llama": GROUPED_7B,
    "mistral": GROUPED_7B,
    "qwen2": {
        "attention_in.0": (3584, 3584),
        "attention_in.1": (512, 3584),
        "attention_in.2": (512, 3584),
        "attention_out": (3584, 3584),
        "mlp_up": (18944, 3584),
        "mlp_down": (3584, 18944),
    },
}
PATHS = {
    "gpt2": "transformer.h.17.mlp.c_proj",
    "gptj": "transformer.h.17.mlp.fc_out",
    "gpt_neox": "gpt_neox.layers.17.mlp.dense_4h_to_h",
} | dict.fromkeys(("llama", "mistral", "qwen2"), "model.layers.17.mlp.down_proj")
SIZES = {
    "gpt2": (48, 1600, 6400, 50257, 1024),
    "gptj": (28, 4096, 16384, 50400, 2048),
    "gpt_neox": (32, 4096, 16384, 50432, 2048),
    "llama": (32, 4096, 14336, 128256, 8192),
    "mistral": (32, 4096, 14336, 32000, 32768),
    "qwen2": (28, 3584, 18944, 152064, 32768),
}


@pytest.fixture(scope="module", params=REAL)
def real(request, tokenizer) -> LanguageModel:
    """A published model with every tensor's shape and no memory behind it."""
    config, model, _ = TINY[request.param]
    with torch.device("meta"):
        built = model(config(**REAL[request.param]))
    return load((built.eval(), tokenizer))


def test_sizes(real: LanguageModel):
    found = (real.n_layers, real.width, real.inner_width, real.vocabulary, real.max_tokens)
    assert found == SIZES[real.model.config.model_type]
    assert real.device.type == "meta"


def test_every_address(real: LanguageModel):
    kind = real.model.config.model_type
    for layer in range(real.n_layers):
        found = {
            part: tuple(real.projection(layer, part).weight.shape) for part in real.anatomy.projection_parts
        }
        assert found == SHAPES[kind]
        shape = SHAPES[kind]["mlp_down"]
        assert tuple(real.projection(layer).parameter.shape) == (shape[::-1] if kind == "gpt2" else shape)
        assert real.module("block", layer) is real.blocks[layer]


def test_parts_of_the_model(real: LanguageModel):
    kind = real.model.config.model_type
    gpt2 = kind == "gpt2"
    assert tuple(real.module("embedding").weight.shape) == (real.vocabulary, real.width)
    assert tuple(real.module("head").weight.shape) == (real.vocabulary, real.width)
    assert (real.module("head").bias is None) == (kind != "gptj")
    for part in PLACES[kind]:
        if part in ("embedding", "final_norm"):
            assert real.module(part) is part_of(real, part)
        elif part != "blocks":
            assert real.module(part, 3) is part_of(real, part, 3)
    assert (real.module("head").weight is real.module("embedding").weight) == gpt2
    if gpt2:
        assert tuple(real.module("position_embedding").weight.shape) == (1024, 1600)
    else:
        with pytest.raises(InputError, match="no 'position_embedding'"):
            real.module("position_embedding")


def test_canonical_path(real: LanguageModel):
    assert real.anatomy.path("mlp_down", 17) == PATHS[real.model.config.model_type]
    assert real.projection(17).path == PATHS[real.model.config.model_type]


def test_order_of_queries_keys_and_values(family: LanguageModel):
    parts = family.anatomy.attention_in_parts
    if len(parts) == 3:
        assert [family.projection(2, part).path.rsplit(".", 1)[1] for part in parts] == [
            f"{name}_proj" for name in "qkv"
        ]
    else:
        assert parts == ("attention_in",)


def test_a_sliding_window_is_named(real: LanguageModel):
    assert real.window == (4096 if real.model.config.model_type == "mistral" else None)


@pytest.mark.parametrize(
    ("part", "layer", "message"),
    [
        ("mlp_down", None, "give its layer"),
        ("embedding", 1, "leave out the layer"),
        ("mlp_sideways", 1, "use one of block, attention"),
        ("attention_in.1", 1, "attention_in"),
        ("blocks", None, "use one of"),
    ],
)
def test_bad_parts(part, layer, message):
    with pytest.raises(InputError, match=message):
        FAMILIES["gpt2"].path(part, layer)


@pytest.mark.parametrize(
    "field", ["embedding", "blocks", "final_norm", "head", "attention", "mlp", "mlp_down"]
)
def test_a_wrong_path_is_named(field, tiny_gpt2: LanguageModel):
    anatomy = replace(FAMILIES["gpt2"], **{field: "no.such"})
    with pytest.raises(InputError, match=r"law 1 .*no\.such"):
        anatomy.check(tiny_gpt2.model)


def test_a_wrong_path_in_one_block_only(fresh_lm):
    lm = fresh_lm("gpt2")
    del lm.blocks[3].mlp.c_proj
    with pytest.raises(InputError, match=r"transformer\.h\.3\.mlp\.c_proj"):
        lm.anatomy.check(lm.model)


def test_attention_in_stands_for_all_inputs_of_the_attention(family: LanguageModel):
    parts = family.anatomy.expand("attention_in")
    paths = tuple(family.anatomy.in_block(part) for part in parts)
    assert paths == family.anatomy.attention_in
    assert family.anatomy.expand("mlp_down") == ("mlp_down",)
    with pytest.raises(InputError, match="use one of attention_in"):
        family.anatomy.expand("mlp")
