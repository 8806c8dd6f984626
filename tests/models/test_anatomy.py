"""Paths and shapes, of the tiny models and of the paper's two."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, GPTJConfig, GPTJForCausalLM

from knowedit.errors import InputError
from knowedit.models import FAMILIES, LanguageModel, load
from knowedit.models.contract import check_paths

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
}
STORED = {"gpt2": (6400, 1600), "gptj": (4096, 16384)}
PATHS = {"gpt2": "transformer.h.17.mlp.c_proj", "gptj": "transformer.h.5.mlp.fc_out"}
SIZES = {"gpt2": (48, 1600, 6400, 50257, 1024), "gptj": (28, 4096, 16384, 50400, 2048)}


@pytest.fixture(scope="module", params=["gpt2", "gptj"])
def real(request, tokenizer) -> LanguageModel:
    """GPT-2 XL or GPT-J with every tensor's shape and no memory behind it."""
    with torch.device("meta"):
        if request.param == "gpt2":
            model = GPT2LMHeadModel(GPT2Config(**GPT2_XL))
        else:
            model = GPTJForCausalLM(GPTJConfig(**GPT_J))
    return load((model.eval(), tokenizer))


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
        assert tuple(real.projection(layer).parameter.shape) == STORED[kind]
        assert real.module("block", layer) is real.blocks[layer]


def test_parts_of_the_model(real: LanguageModel):
    gpt2 = real.model.config.model_type == "gpt2"
    assert tuple(real.module("embedding").weight.shape) == (real.vocabulary, real.width)
    assert tuple(real.module("head").weight.shape) == (real.vocabulary, real.width)
    assert (real.module("head").bias is None) == gpt2
    assert (real.module("head").weight is real.module("embedding").weight) == gpt2
    if gpt2:
        assert tuple(real.module("position_embedding").weight.shape) == (1024, 1600)
    else:
        with pytest.raises(InputError, match="no 'position_embedding'"):
            real.module("position_embedding")


def test_canonical_path(real: LanguageModel):
    layer = 17 if real.model.config.model_type == "gpt2" else 5
    assert real.anatomy.path("mlp_down", layer) == PATHS[real.model.config.model_type]
    assert real.projection(layer).path == PATHS[real.model.config.model_type]


def test_order_of_queries_keys_and_values(tiny_gptj: LanguageModel):
    paths = [tiny_gptj.projection(2, part).path for part in tiny_gptj.anatomy.attention_in_parts]
    assert paths == [f"transformer.h.2.attn.{name}_proj" for name in "qkv"]


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
        check_paths(anatomy, tiny_gpt2.model)


def test_a_wrong_path_in_one_block_only(fresh_lm):
    lm = fresh_lm("gpt2")
    del lm.blocks[3].mlp.c_proj
    with pytest.raises(InputError, match=r"transformer\.h\.3\.mlp\.c_proj"):
        check_paths(lm.anatomy, lm.model)
