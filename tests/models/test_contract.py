"""The laws hold for the families, and each is seen to fail on a model made to break it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn
from transformers import GPT2LMHeadModel

from knowedit.errors import InputError
from knowedit.models import FAMILIES as KNOWN
from knowedit.models import LanguageModel, check_anatomy, load
from knowedit.models.anatomies.contract import ALONE, LAWS
from tests.conftest import FAMILIES, make_config, make_model
from tests.models.oracles import hook, hook_count


def only_rounding(errors: dict[str, float]) -> bool:
    """Law 7 compares sums over other shapes, in every block."""
    return all(error <= (1e-5 if law == ALONE else 1e-6) for law, error in errors.items())


def test_families_keep_the_laws(family: LanguageModel):
    state = torch.get_rng_state()
    errors = check_anatomy(family)
    assert list(errors) == list(LAWS)
    assert only_rounding(errors)
    assert torch.equal(torch.get_rng_state(), state)
    assert hook_count(family) == 0


def test_every_family_known_by_name_is_tested():
    assert set(FAMILIES) == set(KNOWN)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("name", [name for name in FAMILIES if name != "gptj"])
def test_with_either_attention(name, attention, tokenizer):
    check_anatomy(load((make_model(name, attn_implementation=attention), tokenizer)))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("name", FAMILIES)
def test_other_precisions(name, dtype, tokenizer):
    check_anatomy(load((make_model(name).to(dtype), tokenizer)))


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("gpt_neox", {"use_parallel_residual": False}),
        ("gpt_neox", {"attention_bias": False}),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}),
        ("gptj", {"rotary_dim": 8}),
        ("llama", {"mlp_bias": True, "attention_bias": True}),
        ("llama", {"tie_word_embeddings": True}),
        ("llama", {"num_key_value_heads": 1, "head_dim": 16}),
        ("mistral", {"sliding_window": None}),
        ("mistral", {"sliding_window": 3}),  # shorter than the probe
        ("qwen2", {"use_sliding_window": True, "sliding_window": 3, "max_window_layers": 2}),
    ],
)
def test_variants_within_a_family(name, fields, tokenizer):
    assert only_rounding(check_anatomy(load((make_model(name, **fields), tokenizer))))


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


def test_law_8_finds_attention_and_mlp_in_each_others_place(family):
    """Their sum is the same either way."""
    found = family.anatomy
    wrong = replace(found, attention=found.mlp, mlp=found.attention)
    with pytest.raises(InputError, match=r"law 8 .*the MLP does not"):
        check_anatomy(LanguageModel(family.model, family.tokenizer, wrong, "wrong"))


def test_law_7_finds_attention_to_later_tokens(fresh_lm):
    lm = fresh_lm("gpt2")
    with (
        hook(lm.module("embedding"), lambda v: v + v.roll(-1, dims=1)),
        pytest.raises(InputError, match="law 7"),
    ):
        check_anatomy(lm)


def test_law_7_finds_positions_that_are_not_those_given(fresh_lm):
    lm = fresh_lm("gpt2")

    def counts_from_the_end(_module, args, kwargs):
        return args, kwargs | {
            "position_ids": kwargs["position_ids"].flip(-1)
        } if "position_ids" in kwargs else kwargs

    handle = lm.model.register_forward_pre_hook(counts_from_the_end, with_kwargs=True)
    with pytest.raises(InputError, match="law 7"):
        check_anatomy(lm)
    handle.remove()


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


class Keeps(nn.Linear):
    """Computes with a copy of its weight, so that changing the weight changes nothing."""

    def __init__(self, old: nn.Linear):
        super().__init__(old.in_features, old.out_features)
        self.weight, self.bias = old.weight, old.bias
        self.kept = old.weight.detach().clone()

    def forward(self, x):
        return nn.functional.linear(x, self.kept, self.bias)


class Remembers(Keeps):
    """Is never the same again once it has run with another weight."""

    def forward(self, x):
        out = nn.functional.linear(x, self.weight, self.bias) + (1e-3 if self.touched else 0)
        self.touched |= self.weight.data_ptr() != self.first
        return out


@pytest.mark.parametrize("part", ["fc_in", "fc_out"])
def test_law_6_finds_a_weight_that_is_not_used(part, fresh_lm):
    lm = fresh_lm("gptj")
    setattr(lm.blocks[2].mlp, part, Keeps(getattr(lm.blocks[2].mlp, part)))
    with pytest.raises(InputError, match=r"law 6 .*relative error"):
        check_anatomy(lm)


def test_law_6_finds_what_putting_the_weight_back_does_not_restore(fresh_lm):
    lm = fresh_lm("gptj")
    layer = Remembers(lm.blocks[2].mlp.fc_out)
    layer.first, layer.touched = layer.weight.data_ptr(), False
    lm.blocks[2].mlp.fc_out = layer
    with pytest.raises(InputError, match="law 6"):
        check_anatomy(lm)


def test_law_6_puts_the_very_storage_back(family: LanguageModel):
    before = {name: (p.data_ptr(), p._version) for name, p in family.model.named_parameters()}
    check_anatomy(family)
    assert {name: (p.data_ptr(), p._version) for name, p in family.model.named_parameters()} == before


def test_a_layer_of_unknown_type(fresh_lm):
    lm = fresh_lm("gptj")
    old = lm.blocks[0].mlp.fc_out
    lm.blocks[0].mlp.fc_out = torch.nn.Sequential(old)
    with pytest.raises(InputError, match="Sequential, whose weight orientation is not known"):
        check_anatomy(lm)
