"""Facts about the installed transformers on which this package rests, and traps that it must not fall into.

When one of these fails after an upgrade, the fact has changed: read the code that names it.
"""

from __future__ import annotations

import pickle
from dataclasses import replace

import pytest
import torch
from transformers import DynamicCache

from knowedit.models import (
    LanguageModel,
    Site,
    batch,
    capture,
    check_anatomy,
    fingerprint,
    intervene,
    record,
    replay,
    target_log_probabilities,
)
from knowedit.models.forwards import run
from tests.conftest import make_config, make_model
from tests.models.oracles import block_of, full_logits, hook_count

IDS = [5, 6, 7, 8, 9, 10, 11, 12]


def recorded_call(lm: LanguageModel):
    recording = record(lm, [IDS])
    return recording.states[1], *recording.calls[1]


def test_blocks_return_a_tensor_or_a_pair(tiny_gpt2, tiny_gptj):
    for lm, kind in ((tiny_gpt2, torch.Tensor), (tiny_gptj, tuple)):
        state, args, kwargs = recorded_call(lm)
        with torch.no_grad():
            assert isinstance(lm.blocks[1](state, *args, **kwargs), kind)


def test_blocks_are_called_with_other_names(tiny_gpt2, tiny_gptj):
    _, args, kwargs = recorded_call(tiny_gpt2)
    assert len(args) == 3
    assert "position_ids" in kwargs
    _, args, kwargs = recorded_call(tiny_gptj)
    assert args == ()
    assert {"layer_past", "attention_mask", "position_ids"} <= kwargs.keys()


def test_attention_is_called_by_position_or_keyword(tiny_gpt2, tiny_gptj):
    for lm, count in ((tiny_gpt2, 1), (tiny_gptj, 0)):
        seen = []
        handle = block_of(lm, 1).attn.register_forward_pre_hook(
            lambda _m, args, kwargs, seen=seen: seen.append((len(args), "hidden_states" in kwargs)),
            with_kwargs=True,
        )
        lm.logits([IDS])
        handle.remove()
        assert seen == [(count, count == 0)]


def test_gptj_has_no_sdpa():
    with pytest.raises(ValueError, match="scaled_dot_product_attention"):
        make_model("gptj", attn_implementation="sdpa")


@pytest.mark.parametrize("name", ["gpt2", "gptj"])
def test_a_missing_mask_is_silently_wrong_for_eager(name, fresh_lm):
    lm = fresh_lm(name, attn_implementation="eager")
    recording = record(lm, [IDS])
    for args, kwargs in recording.calls:
        # The recorded call holds the library's own four-dimensional mask.
        masks = [
            value
            for value in (*args, *kwargs.values())
            if isinstance(value, torch.Tensor) and value.ndim == 4
        ]
        assert [tuple(mask.shape[2:]) for mask in masks] == [(8, 8)]
    calls = tuple(
        (tuple(None for _ in args), kwargs | ({"attention_mask": None} if "attention_mask" in kwargs else {}))
        for args, kwargs in recording.calls
    )
    maskless = replace(recording, calls=calls)
    with torch.no_grad():
        right = replay(recording, 1, recording.states[1])
        wrong = replay(maskless, 1, recording.states[1])
    assert (right[0] - full_logits(lm, IDS)).abs().max() <= 1e-5
    assert (wrong[0] - full_logits(lm, IDS)).abs().max() > 0.1


def test_a_mask_of_the_new_token_alone_is_silently_wrong(family: LanguageModel):
    """What the official ROME passes; the cache's tokens then count as padding."""
    data = batch(family, [IDS])
    expected = full_logits(family, [*IDS, 50])[-1]
    results = []
    for mask in (torch.ones(1, 9, dtype=torch.long), torch.ones(1, 1, dtype=torch.long)):
        with torch.no_grad():
            _, cache = run(family, data.ids, data.mask, data.positions, data.last, True)
            new = (torch.tensor([[50]]), mask, torch.tensor([[8]]))
            results.append(run(family, *new, 0, cache)[0][0])
    torch.testing.assert_close(results[0], expected, rtol=1e-5, atol=1e-5)
    assert (results[1] - expected).abs().max() > 0.1


def test_left_padding_without_positions_is_silently_wrong_for_gpt2(tiny_gpt2, tiny_gptj):
    ids = torch.tensor([[0, 0, 0, *IDS]])
    mask = torch.tensor([[0] * 3 + [1] * 8])
    for lm, wrong in ((tiny_gpt2, True), (tiny_gptj, False)):
        with torch.no_grad():
            left = lm.model(ids, attention_mask=mask).logits[0, -1]
        difference = (left - full_logits(lm, IDS)[-1]).abs().max()
        assert (difference > 0.1) == wrong
        # Ours pads on the right with positions, so company does not matter.
        ours = lm.logits([IDS, [3] * 30], torch.tensor([7, 29]))[0]
        torch.testing.assert_close(ours, full_logits(lm, IDS)[-1], rtol=1e-5, atol=1e-5)


def test_hidden_states_install_hooks_that_stay_and_we_never_ask_for_them(fresh_lm):
    lm = fresh_lm("gpt2")
    with intervene(lm, {Site(1, "mlp"): lambda v: v}), capture(lm, [Site(1, "block")]):
        record(lm, [IDS])
        lm.generate("Paris", 3)
    check_anatomy(lm)
    fingerprint(lm)
    target_log_probabilities(lm, [("Paris is", "a")])
    assert hook_count(lm) == 0
    pickle.dumps(lm.model)  # stays possible
    lm.model(torch.tensor([IDS]), output_hidden_states=True)
    assert hook_count(lm) > 0


def test_results_are_the_same_after_the_librarys_own_capture(fresh_lm):
    """A user who asked for hidden states before must get the same interventions."""
    lm, other = fresh_lm("gpt2"), fresh_lm("gpt2")
    lm.model(torch.tensor([IDS]), output_hidden_states=True)
    for model in (lm, other):
        with (
            intervene(model, {Site(1, "block"): lambda v: v + 1}),
            capture(model, [Site(1, "block")]) as seen,
        ):
            logits = model.logits([IDS])
        if model is lm:
            first = logits, seen[Site(1, "block")]
    assert torch.equal(first[0], logits)
    assert torch.equal(first[1], seen[Site(1, "block")])


def test_a_tuple_from_a_hook_on_a_gpt2_block_breaks_the_model(tiny_gpt2: LanguageModel):
    handle = block_of(tiny_gpt2, 1).register_forward_hook(lambda _m, _a, out: (out,))
    with pytest.raises((TypeError, AttributeError)):
        tiny_gpt2.logits([IDS])
    handle.remove()
    with intervene(tiny_gpt2, {Site(1, "block"): lambda v: v}):
        tiny_gpt2.logits([IDS])


def test_head_is_tied_without_bias_or_separate_with_bias(tiny_gpt2, tiny_gptj):
    assert tiny_gpt2.module("head").weight is tiny_gpt2.module("embedding").weight
    assert tiny_gpt2.module("head").bias is None
    assert tiny_gptj.module("head").weight is not tiny_gptj.module("embedding").weight
    assert tiny_gptj.module("head").bias.abs().max() > 0


def test_editing_a_layer_leaves_the_cache_up_to_it(family: LanguageModel):
    data = batch(family, [IDS])
    caches: list[DynamicCache] = []
    for scale in (1.0, 2.0):
        with intervene(family, {Site(1, "mlp"): lambda v, scale=scale: v * scale}), torch.no_grad():
            caches.append(run(family, data.ids, data.mask, data.positions, 0, True)[1])
    for layer in range(family.n_layers):
        same = torch.equal(caches[0].layers[layer].keys, caches[1].layers[layer].keys)
        assert same == (layer <= 1)


def test_configurations_name_the_position_limit(family: LanguageModel):
    assert family.max_tokens == make_config("gpt2").n_positions == 64
