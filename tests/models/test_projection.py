"""Weights turned by layer type."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from knowedit.errors import InputError
from knowedit.models import LanguageModel, Projection, Site, capture
from tests.conftest import noise
from tests.rounding import assert_same

FUSED = ["attention_in", "attention_out", "mlp_up", "mlp_down"]
SPLIT = ["attention_in.0", "attention_in.1", "attention_in.2", "attention_out", "mlp_up", "mlp_down"]
PARTS = {
    "gpt2": FUSED,
    "gptj": SPLIT,
    "gpt_neox": FUSED,
    "llama": SPLIT,
    "mistral": SPLIT,
    "qwen2": SPLIT,
}


def every(lm: LanguageModel) -> list[Projection]:
    parts = PARTS[lm.model.config.model_type]
    return [lm.projection(layer, part) for layer in range(lm.n_layers) for part in parts]


def test_parts(family: LanguageModel):
    assert list(family.anatomy.projection_parts) == PARTS[family.model.config.model_type]


def test_reproduces_its_module(family: LanguageModel):
    for projection in every(family):
        x = noise(2, 3, projection.d_in)
        with torch.no_grad():
            assert_same(projection.apply(x), projection.module(x))


def test_sees_what_the_model_computes(family: LanguageModel):
    sites = [Site(2, "mlp_down", "input"), Site(2, "mlp_down")]
    with capture(family, sites) as seen:
        family.logits(["The Space Needle is in"])
    projection = family.projection(2)
    keys, values = (seen[site][0] for site in sites)
    bias = 0.0 if projection.bias is None else projection.bias
    assert_same(keys @ projection.weight.T + bias, values)


def test_storage_is_a_view_both_ways(family: LanguageModel):
    for projection in every(family):
        assert projection.weight.data_ptr() == projection.parameter.data_ptr()
        assert projection.weight.shape == (projection.d_out, projection.d_in)
        assert torch.equal(projection.to_storage(projection.weight), projection.parameter)
        assert projection.path in dict(family.model.named_modules())
        assert projection.address == (projection.layer, projection.part)


def test_a_square_weight_is_turned_by_type(fresh_lm):
    gpt2, gptj = fresh_lm("gpt2", n_inner=32), fresh_lm("gptj", n_inner=32)
    stored = [lm.projection(1).parameter for lm in (gpt2, gptj)]
    assert all(weight.shape == (32, 32) for weight in stored)
    assert torch.equal(gpt2.projection(1).weight, stored[0].T)
    assert torch.equal(gptj.projection(1).weight, stored[1])
    for lm in (gpt2, gptj):
        x = noise(5, 32)
        assert_same(lm.projection(1).apply(x), lm.projection(1).module(x))


def test_a_low_rank_edit_lands_where_it_should(fresh_lm, family: LanguageModel):
    lm = fresh_lm(family.model.config.model_type)
    projection = lm.projection(1)
    left, right = noise(projection.d_out), noise(projection.d_in)
    x = noise(projection.d_in, seed=2)
    before = projection.apply(x)
    with torch.no_grad():
        projection.parameter.add_(projection.to_storage(torch.outer(left, right)))
        torch.testing.assert_close(projection.module(x), before + left * (right @ x), rtol=1e-4, atol=1e-4)


BIASED = {
    "gpt2": FUSED,
    "gptj": ["mlp_up", "mlp_down"],
    "gpt_neox": FUSED,
    "llama": [],
    "mistral": [],
    "qwen2": ["attention_in.0", "attention_in.1", "attention_in.2"],
}


def test_which_projections_have_a_bias(family: LanguageModel):
    found = [part for part in family.anatomy.projection_parts if family.projection(0, part).bias is not None]
    assert found == BIASED[family.model.config.model_type]


@pytest.mark.parametrize("name", ["llama", "mistral", "qwen2"])
def test_grouped_queries_have_fewer_keys_and_values(name, request):
    lm: LanguageModel = request.getfixturevalue(f"tiny_{name}")
    sizes = [lm.projection(0, part).d_out for part in lm.anatomy.attention_in_parts]
    assert sizes == [32, 16, 16]


def test_matrix_in_storage_orientation_is_refused(tiny_gpt2: LanguageModel):
    with pytest.raises(InputError, match="transpose"):
        tiny_gpt2.projection(0).to_storage(torch.zeros(128, 32))


def test_wrong_part_names_the_right_ones(family: LanguageModel):
    with pytest.raises(InputError, match="attention_out, mlp_up, mlp_down"):
        family.projection(0, "mlp")


@pytest.mark.parametrize("layer", [-1, 4, 99])
def test_layer_out_of_range_names_the_range(family: LanguageModel, layer: int):
    for ask in (family.projection, lambda n: family.module("mlp", n)):
        with pytest.raises(InputError, match="from 0 to 3"):
            ask(layer)


class Odd(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2, 2))


def test_unknown_layer_type():
    with pytest.raises(InputError, match="Odd, whose weight orientation is not known"):
        Projection.of(Odd(), 0, "mlp_down", "x")


@pytest.mark.parametrize("kind", [nn.Linear, Conv1D])
def test_quantised_weight(kind):
    layer = kind(4, 4)
    layer.weight = nn.Parameter(torch.zeros(4, 4, dtype=torch.uint8), requires_grad=False)
    with pytest.raises(InputError, match="unquantised"):
        Projection.of(layer, 0, "mlp_down", "x")


def test_parametrised_weight():
    from torch.nn.utils.parametrizations import orthogonal

    with pytest.raises(InputError):
        Projection.of(orthogonal(nn.Linear(4, 4)), 0, "mlp_down", "x")
