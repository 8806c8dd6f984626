"""The laws hold for the families, and each is seen to fail on a model made to break it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from transformers import Gemma2Config, Gemma2ForCausalLM, GPT2LMHeadModel

from knowedit.errors import InputError
from knowedit.models import LanguageModel, check_anatomy, load
from knowedit.models.contract import LAWS
from tests.conftest import make_config, make_model
from tests.models.oracles import hook, hook_count
from tests.models.test_loading import LLAMA


def test_families_keep_the_laws(family: LanguageModel):
    state = torch.get_rng_state()
    errors = check_anatomy(family)
    assert list(errors) == list(LAWS)
    assert max(errors.values()) <= 1e-6
    assert torch.equal(torch.get_rng_state(), state)
    assert hook_count(family) == 0


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_with_either_attention(attention, tokenizer):
    check_anatomy(load((make_model("gpt2", attn_implementation=attention), tokenizer)))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
@pytest.mark.parametrize("name", ["gpt2", "gptj"])
def test_other_precisions(name, dtype, tokenizer):
    check_anatomy(load((make_model(name).to(dtype), tokenizer)))


def test_a_model_with_very_few_positions(fresh_lm):
    check_anatomy(fresh_lm("gpt2", n_positions=3))


def test_law_2(fresh_lm):
    lm = fresh_lm("gpt2")
    with hook(lm.blocks[2].mlp.c_proj, lambda v: v + 0.1), pytest.raises(InputError, match="law 2"):
        check_anatomy(lm)


def test_law_3(fresh_lm):
    lm = fresh_lm("gptj")
    with hook(lm.blocks[3], lambda v: v * 1.01), pytest.raises(InputError, match=r"law 3 .*relative error"):
        check_anatomy(lm)
    assert hook_count(lm) == 0


def test_law_3_finds_a_wrong_path(fresh_lm):
    lm = fresh_lm("gpt2")
    wrong = replace(lm.anatomy, attention="ln_1")
    with pytest.raises(InputError, match="law 3"):
        check_anatomy(LanguageModel(lm.model, lm.tokenizer, wrong, "wrong"))


def test_a_path_to_something_else_altogether(fresh_lm):
    lm = fresh_lm("gpt2")
    wrong = replace(lm.anatomy, mlp="mlp.c_fc")
    with pytest.raises(InputError, match=r"law 3 .*cannot be measured"):
        check_anatomy(LanguageModel(lm.model, lm.tokenizer, wrong, "wrong"))


def test_law_4(fresh_lm):
    lm = fresh_lm("gptj")
    # Something done between two blocks, on the way in: a replay does it twice.
    handle = lm.blocks[1].register_forward_pre_hook(lambda _m, args: (args[0] * 1.5, *args[1:]))
    with pytest.raises(InputError, match="law 4"):
        check_anatomy(lm)
    handle.remove()


class Capped(GPT2LMHeadModel):
    """Bends logits after the head, by less than rounding shows when they are small."""

    def forward(self, *args, **kwargs):
        out = super().forward(*args, **kwargs)
        out.logits = 1000 * torch.tanh(out.logits / 1000)
        return out


def test_law_5(tokenizer):
    with pytest.raises(InputError, match="law 5"):
        check_anatomy(load((Capped(make_config("gpt2")).eval(), tokenizer)))


def test_gemma_is_refused(tokenizer):
    sizes = {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8}
    config = Gemma2Config(hidden_size=32, intermediate_size=64, vocab_size=400, **sizes)
    lm = load((Gemma2ForCausalLM(config).eval(), tokenizer), anatomy=LLAMA)
    with pytest.raises(InputError, match="law 3"):
        check_anatomy(lm)


def test_a_layer_of_unknown_type(fresh_lm):
    lm = fresh_lm("gptj")
    old = lm.blocks[0].mlp.fc_out
    lm.blocks[0].mlp.fc_out = torch.nn.Sequential(old)
    with pytest.raises(InputError, match="Sequential, whose weight orientation is not known"):
        check_anatomy(lm)
