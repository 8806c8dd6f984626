"""The anatomy of a model is found by what it calls; what is no plain decoder, or fits twice, is refused in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import AutoConfig, GPT2LMHeadModel, GPT2Model
from transformers.models.gpt2.modeling_gpt2 import GPT2Block
from typer.testing import CliRunner

from knowedit.cli.app import app
from knowedit.errors import InputError
from knowedit.models import FAMILIES as KNOWN
from knowedit.models import LanguageModel, check_anatomy, discover, load
from knowedit.models.anatomies.tail import find_steps
from tests.any_family import goes_through, random_model
from tests.conftest import FAMILIES, make_config, make_model

FOUND = {
    "bloom": ("self_attention.dense", "mlp.dense_4h_to_h", "mlp.dense_4h_to_h", "transformer.ln_f"),
    "cohere": ("self_attn", "mlp", "mlp.down_proj", "model.norm"),
    "falcon": ("self_attention", "mlp", "mlp.dense_4h_to_h", "transformer.ln_f"),
    "gemma2": ("post_attention_layernorm", "post_feedforward_layernorm", "mlp.down_proj", "model.norm"),
    "gpt_bigcode": ("attn", "mlp", "mlp.c_proj", "transformer.ln_f"),
    "granite": ("self_attn", "mlp", "mlp.down_proj", "model.norm"),
    "mpt": ("attn", "ffn.down_proj", "ffn.down_proj", "transformer.norm_f"),
    "olmo2": ("post_attention_layernorm", "post_feedforward_layernorm", "mlp.down_proj", "model.norm"),
    "opt": ("self_attn", "fc2", "fc2", "model.decoder.final_layer_norm"),
    "phi3": ("self_attn", "mlp", "mlp.down_proj", "model.norm"),
    "stablelm": ("self_attn", "mlp", "mlp.down_proj", "model.norm"),
}
"""What is added by attention and MLP, the last projection, and the final norm, written out by hand."""


@pytest.mark.parametrize("name", FAMILIES)
def test_a_listed_anatomy_is_what_would_be_found(name, tokenizer):
    assert discover(make_model(name), tokenizer, name) == KNOWN[name]


@pytest.mark.parametrize("name", FOUND)
def test_a_family_opens_is_edited_reverted_and_exported(name, tokenizer, tmp_path: Path):
    found = goes_through(random_model(name), tokenizer, tmp_path).anatomy
    assert (found.attention, found.mlp, found.mlp_down, found.final_norm) == FOUND[name]


def test_what_belongs_to_a_head_is_part_of_it(tokenizer):
    found = {name: discover(random_model(name), tokenizer, name) for name in ("gemma2", "cohere", "granite")}
    assert found["gemma2"].after_head == (("cap", 30.0),)
    assert found["cohere"].after_head == (("multiply", 0.0625),)
    assert found["granite"].after_head == (("divide", 8.0),)
    assert found["granite"].residual_scale == 0.22


def test_positions_with_an_offset_are_found(tokenizer):
    assert (
        discover(random_model("opt"), tokenizer, "opt").position_embedding == "model.decoder.embed_positions"
    )
    assert discover(random_model("bloom"), tokenizer, "bloom").position_embedding is None


REFUSED = {
    "bert": "an encoder",
    "roberta": "an encoder",
    "bert-generation": "an encoder",
    "bart": "an encoder-decoder",
    "trocr": "the decoder of one",
    "mamba": "a state-space, recurrent or convolution",
    "lfm2": "a state-space, recurrent or convolution",
    "mixtral": "a mixture of experts",
    "gemma3": "multimodal",
}


@pytest.mark.parametrize("name", REFUSED)
def test_another_kind_is_named(name, tokenizer):
    # Most by their configuration alone, before any weights are read.
    built = name in ("bert-generation", "trocr", "lfm2")
    model = random_model(name) if built else Untouched(AutoConfig.for_model(name))
    with pytest.raises(InputError, match=f" is .*{REFUSED[name]}") as error:
        load((model, tokenizer))
    assert "\n" not in str(error.value)


class Untouched:
    """A model of which only the configuration may be looked at."""

    training = False

    def __init__(self, config):
        self.config = config


def test_experts_are_seen_whatever_the_configuration_says(tokenizer):
    model = make_model("gpt2")
    model.config.model_type = "unheard of"
    model.transformer.h[1].mlp.experts = nn.ModuleList([nn.Linear(32, 32), nn.Linear(32, 32)])
    with pytest.raises(InputError, match="is a mixture of experts"):
        load((model, tokenizer))


def test_a_model_without_a_head(tokenizer):
    model = GPT2Model(make_config("gpt2")).eval()
    model.config.model_type = "unheard of"
    with pytest.raises(InputError, match=r"\(GPT2Model\) has no head: open it as"):
        load((model, tokenizer))


class Summed(nn.Module):
    """Attention and MLP in one module, beside an adapter that was never trained and so adds nothing."""

    def __init__(self, block: GPT2Block):
        super().__init__()
        self.block, self.sum, self.adapter = block, nn.Identity(), nn.Linear(32, 32, bias=False)
        nn.init.zeros_(self.adapter.weight)

    def forward(self, hidden_states, *args, **kwargs):
        attention = self.block.attn(self.block.ln_1(hidden_states), *args, **kwargs)[0]
        both = self.sum(attention + self.block.mlp(self.block.ln_2(hidden_states)))
        nothing = self.adapter(torch.tanh(self.block.mlp.c_fc(hidden_states))[..., :32])
        return hidden_states + both + nothing


def test_an_anatomy_that_two_candidates_fit(tokenizer):
    model = GPT2LMHeadModel(make_config("gpt2")).eval()
    for layer, block in enumerate(model.transformer.h):
        model.transformer.h[layer] = Summed(block)
    model.config.model_type = "unheard of"
    with pytest.raises(InputError, match=r"two anatomies fit .*choose with anatomy=") as error:
        load((model, tokenizer))
    assert "mlp is 'block.mlp' or 'adapter'" in str(error.value)


def test_norms_after_the_sum_are_refused_with_their_law(tokenizer):
    with pytest.raises(InputError, match=r"law 3 .*no two modules"):
        discover(random_model("openai-gpt"), tokenizer, "openai-gpt")


def test_a_bias_that_no_module_adds_is_refused_with_its_law(tokenizer):
    with pytest.raises(InputError, match=r"law 3 .*relative error"):
        discover(random_model("gpt_neox_japanese"), tokenizer, "gpt_neox_japanese")


@pytest.mark.parametrize(
    "steps", [(), (("cap", 30.0),), (("divide", 3.0),), (("multiply", 2.0), ("cap", 30.0))]
)
def test_steps_are_found_to_the_last_bit(steps):
    values = torch.linspace(-40, 40, 200)
    after = values
    for kind, by in steps:
        after = (
            (after / by).tanh() * by if kind == "cap" else after * by if kind == "multiply" else after / by
        )
    assert find_steps(values, after, [2.0, 3.0, 30.0]) == steps
    assert find_steps(values, values.sin(), [2.0, 3.0, 30.0]) is None


def test_models_check(tmp_path: Path, tokenizer):
    random_model("gemma2").save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    done = CliRunner().invoke(app, ["models", "check", str(tmp_path), "--json"])
    report = json.loads(done.stdout)
    assert report["anatomy_is"] == "found"
    assert report["anatomy"]["after_head"] == [["cap", 30.0]]
    assert max(report["laws"].values()) < 1e-4
    shown = CliRunner().invoke(app, ["models", "check", str(tmp_path)], env={"COLUMNS": "200"}).output
    assert "cap 30" in shown
    assert "law 8" in shown
    lm = load(tmp_path)
    assert isinstance(lm, LanguageModel)
    assert list(check_anatomy(lm)) == list(report["laws"])


def test_models_check_refuses_in_one_line(tmp_path: Path, tokenizer):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "mixtral"}))
    done = CliRunner().invoke(app, ["models", "check", str(tmp_path)])
    assert done.exit_code == 2
    assert "is a mixture of experts" in done.output
    assert done.output.count("\n") == 1
