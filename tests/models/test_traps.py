"""Facts about the installed transformers on which this package rests, and traps that it must not fall into.

When one of these fails after an upgrade, the fact has changed: read the code that names it.
"""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import Any

import pytest
import torch
from transformers import DynamicCache
from transformers.masking_utils import create_causal_mask

from knowedit.models import (
    Batch,
    LanguageModel,
    Site,
    batch,
    capture,
    check_anatomy,
    fingerprint,
    forward,
    intervene,
    record,
    replay,
    target_token_log_probabilities,
)
from tests.conftest import FAMILIES, make_config, make_model
from tests.models.oracles import block_of, full_logits, hook, hook_count, part_of
from tests.rounding import assert_same

IDS = [5, 6, 7, 8, 9, 10, 11, 12]


def recorded_call(lm: LanguageModel):
    recording = record(lm, [IDS])
    return recording.states[1], *recording.calls[1]


def kind_of(lm: LanguageModel) -> str:
    return lm.model.config.model_type


def test_blocks_return_a_tensor_or_a_pair(family: LanguageModel):
    state, args, kwargs = recorded_call(family)
    with torch.no_grad():
        out = family.blocks[1](state, *args, **kwargs)
    assert isinstance(out, tuple if kind_of(family) == "gptj" else torch.Tensor)


# GPT-2's block gets its cache and mask by position.
CACHE_NAMES = dict.fromkeys(("llama", "mistral", "qwen2"), "past_key_values") | dict.fromkeys(
    ("gptj", "gpt_neox"), "layer_past"
)


def test_blocks_are_called_with_other_names(family: LanguageModel):
    _, args, kwargs = recorded_call(family)
    assert "position_ids" in kwargs
    if kind_of(family) == "gpt2":
        assert len(args) == 3
        return
    assert args == ()
    assert {CACHE_NAMES[kind_of(family)], "attention_mask"} <= kwargs.keys()
    assert ("position_embeddings" in kwargs) == (kind_of(family) != "gptj")


def test_gptj_needs_position_ids_and_the_others_rotary_tables(family: LanguageModel):
    state, args, kwargs = recorded_call(family)
    needed = {"gpt2": None, "gptj": "position_ids"}.get(kind_of(family), "position_embeddings")
    rest = {name: value for name, value in kwargs.items() if name not in ("position_ids", needed)}
    rest |= {"position_ids": kwargs["position_ids"]} if needed == "position_embeddings" else {}
    with torch.no_grad():
        if needed is None:
            family.blocks[1](state, *args, **rest)
        else:
            with pytest.raises((TypeError, AttributeError, ValueError)):
                family.blocks[1](state, *args, **rest)


def test_attention_is_called_by_position_or_keyword(family: LanguageModel):
    count = {"gpt2": 1, "gpt_neox": 1}.get(kind_of(family), 0)
    seen = []
    handle = part_of(family, "attention", 1).register_forward_pre_hook(
        lambda _m, args, kwargs: seen.append((len(args), "hidden_states" in kwargs)),
        with_kwargs=True,
    )
    family.logits([IDS])
    handle.remove()
    assert seen == [(count, count == 0)]


def test_gptj_has_no_sdpa():
    with pytest.raises(ValueError, match="scaled_dot_product_attention"):
        make_model("gptj", attn_implementation="sdpa")


KINDS = [(name, kind) for name in FAMILIES for kind in ("sdpa", "eager") if (name, kind) != ("gptj", "sdpa")]
LAYER, PREFIX = 2, 5


def in_place(
    lm: LanguageModel, call: Any, mask: torch.Tensor | None, cache: DynamicCache, tokens: slice
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """A block's recorded arguments with another mask, a cache, and the positions of ``tokens`` only."""
    args, kwargs = call
    kwargs = dict(kwargs)
    if kind_of(lm) == "gpt2":
        args = (cache, mask, *args[2:])
    else:
        kwargs |= {CACHE_NAMES[kind_of(lm)]: cache, "attention_mask": mask}
    kwargs["position_ids"] = kwargs["position_ids"][:, tokens]
    if "position_embeddings" in kwargs:
        kwargs["position_embeddings"] = tuple(table[:, tokens] for table in kwargs["position_embeddings"])
    return args, kwargs


@torch.no_grad()
def later_blocks(lm: LanguageModel, recording, cache: DynamicCache, mask, tokens: slice) -> torch.Tensor:
    """The blocks from LAYER on, by hand: only they ever write to the cache."""
    state = recording.states[LAYER][:, tokens]
    for block, call in list(zip(lm.blocks, recording.calls, strict=True))[LAYER:]:
        args, kwargs = in_place(lm, call, mask, cache, tokens)
        out = block(state, *args, **kwargs)
        state = out[0] if isinstance(out, tuple) else out
    return state


def mask_for(
    lm: LanguageModel, tokens: int, cache: DynamicCache | None, layer: int | None, skip: bool = False
):
    return create_causal_mask(
        config=lm.model.config,
        inputs_embeds=torch.zeros(1, tokens, lm.width),
        attention_mask=None,
        past_key_values=cache,
        layer_idx=layer,
        allow_is_causal_skip=skip,
    )


@pytest.fixture(params=KINDS, ids="-".join)
def half_cached(request, fresh_lm):
    """A model, a recording, and a cache that holds the prefix in the later layers alone."""
    name, kind = request.param
    lm = fresh_lm(name, attn_implementation=kind)
    recording, cache = record(lm, [IDS]), DynamicCache()
    later_blocks(lm, recording, cache, mask_for(lm, PREFIX, None, None), slice(0, PREFIX))
    return lm, recording, cache


def test_a_cache_of_later_layers_reports_length_0(half_cached):
    _, _, cache = half_cached
    assert cache.get_seq_length() == 0  # reads layer 0
    assert cache.get_seq_length(LAYER) == PREFIX


def test_a_cache_of_later_layers_needs_the_layer_in_the_mask(half_cached):
    lm, recording, cache = half_cached
    mask = mask_for(lm, len(IDS) - PREFIX, cache, LAYER)
    assert mask.shape[-2:] == (len(IDS) - PREFIX, len(IDS))
    found = later_blocks(lm, recording, cache, mask, slice(PREFIX, None))
    assert_same(found, recording.states[-1][:, PREFIX:])


def test_without_the_layer_the_mask_is_an_error_or_silently_wrong(half_cached):
    lm, recording, cache = half_cached
    # As the library makes it: with sdpa it sees a plain causal mask of the new tokens and leaves it out.
    mask = mask_for(lm, len(IDS) - PREFIX, cache, None, skip=True)
    if lm.model.config._attn_implementation == "eager":
        with pytest.raises(RuntimeError):
            later_blocks(lm, recording, cache, mask, slice(PREFIX, None))
        return
    found = later_blocks(lm, recording, cache, mask, slice(PREFIX, None))
    assert (found - recording.states[-1][:, PREFIX:]).abs().max() > 0.1


def test_a_missing_mask_with_a_cached_prefix_is_silently_wrong(half_cached):
    lm, recording, cache = half_cached
    found = later_blocks(lm, recording, cache, None, slice(PREFIX, None))
    assert (found - recording.states[-1][:, PREFIX:]).abs().max() > 0.1


def test_one_mask_serves_many_rows_and_a_square_one_is_passed_on_untouched(family: LanguageModel):
    """What makes it possible to replay a single recorded row as many."""
    rows = torch.tensor([IDS, [i + 20 for i in IDS]])
    mask = create_causal_mask(
        config=family.model.config,
        inputs_embeds=torch.zeros(1, len(IDS), family.width),
        attention_mask=None,
        past_key_values=None,
        allow_is_causal_skip=False,
    )
    with torch.no_grad():
        found = family.model(rows, attention_mask=mask, use_cache=False).logits
    for logits, ids in zip(found, rows.tolist(), strict=True):
        assert_same(logits, full_logits(family, ids))


def test_crop_takes_how_many_tokens_to_remove_and_not_how_many_to_keep(family: LanguageModel):
    data = batch(family, [IDS])
    with torch.no_grad():
        forward(family, data, 0, cache=(cache := DynamicCache(config=family.model.config)))
    with pytest.raises((ValueError, RuntimeError), match=r"positive|negative"):
        cache.crop(3)
    cache.crop(-3)
    assert cache.get_seq_length() == len(IDS) - 3


@pytest.mark.parametrize("name", [name for name in FAMILIES if name != "gptj"])
def test_a_missing_mask_is_right_for_a_full_sequence_with_sdpa_alone(name, fresh_lm):
    lm = fresh_lm(name, attn_implementation="sdpa")
    recording = record(lm, [IDS])
    with torch.no_grad():
        found = replay(without_masks(recording), 1, recording.states[1])
    assert_same(found[0], full_logits(lm, IDS))


def without_masks(recording):
    calls = tuple(
        (tuple(None for _ in args), kwargs | ({"attention_mask": None} if "attention_mask" in kwargs else {}))
        for args, kwargs in recording.calls
    )
    return replace(recording, calls=calls)


@pytest.mark.parametrize("name", FAMILIES)
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
    with torch.no_grad():
        right = replay(recording, 1, recording.states[1])
        wrong = replay(without_masks(recording), 1, recording.states[1])
    assert_same(right[0], full_logits(lm, IDS))
    assert (wrong[0] - full_logits(lm, IDS)).abs().max() > 0.1


def test_a_mask_of_the_new_token_alone_is_silently_wrong(family: LanguageModel):
    """What the official ROME passes; the cache's tokens then count as padding."""
    data = batch(family, [IDS])
    expected = full_logits(family, [*IDS, 50])[-1]
    results = []
    for mask in (torch.ones(1, 9, dtype=torch.long), torch.ones(1, 1, dtype=torch.long)):
        with torch.no_grad():
            forward(family, data, data.last, cache=(cache := DynamicCache(config=family.model.config)))
            new = Batch(torch.tensor([[50]]), mask, torch.tensor([[8]]), torch.tensor([1]))
            results.append(forward(family, new, 0, cache=cache, mask=mask)[0])
    assert_same(results[0], expected)
    assert (results[1] - expected).abs().max() > 0.1


def test_left_padding_without_positions_is_silently_wrong_for_gpt2(family: LanguageModel):
    """The rotary families only know how far apart tokens are; GPT-2 learned where they stand."""
    ids = torch.tensor([[0, 0, 0, *IDS]])
    mask = torch.tensor([[0] * 3 + [1] * 8])
    with torch.no_grad():
        left = family.model(ids, attention_mask=mask).logits[0, -1]
    difference = (left - full_logits(family, IDS)[-1]).abs().max()
    assert (difference > 0.1) == (kind_of(family) == "gpt2")
    # Ours pads on the right with positions, so company does not matter.
    ours = family.logits([IDS, [3] * 30], torch.tensor([7, 29]))[0]
    assert_same(ours, full_logits(family, IDS)[-1])


def test_the_last_hidden_state_is_behind_the_final_norm(fresh_lm, family: LanguageModel):
    """So it is not the state after the last block, which `Recording.states[-1]` is."""
    lm = fresh_lm(kind_of(family))
    recording = record(lm, [IDS])
    with torch.no_grad():
        theirs = lm.model(torch.tensor([IDS]), output_hidden_states=True).hidden_states
        normed = part_of(lm, "final_norm")(recording.states[-1])
    assert len(theirs) == len(recording.states)
    for layer in range(lm.n_layers):
        assert_same(theirs[layer], recording.states[layer])
    assert_same(theirs[-1], normed)
    assert (theirs[-1] - recording.states[-1]).abs().max() > 0.1


def test_hidden_states_miss_what_is_put_on_a_block_later(fresh_lm, family: LanguageModel):
    """Why hidden states are never read while intervening: whose hook came first decides what they show."""
    lm = fresh_lm(kind_of(family))
    ids = torch.tensor([IDS])
    with torch.no_grad():
        plain = lm.model(ids, output_hidden_states=True).hidden_states[2]
        with hook(block_of(lm, 1), lambda v: v + 1), capture(lm, [Site(1, "block")]) as seen:
            shown = lm.model(ids, output_hidden_states=True).hidden_states[2]
    missed = kind_of(family) != "gptj"
    assert torch.equal(shown, plain) == missed
    assert_same(seen[Site(1, "block")], plain + 1)


def test_hidden_states_install_hooks_that_stay_and_we_never_ask_for_them(fresh_lm):
    lm = fresh_lm("gpt2")
    with intervene(lm, {Site(1, "mlp"): lambda v: v}), capture(lm, [Site(1, "block")]):
        record(lm, [IDS])
        lm.generate("Paris", 3)
    check_anatomy(lm)
    fingerprint(lm)
    target_token_log_probabilities(lm, [("Paris is", "a")])
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


def test_a_tuple_from_a_hook_on_a_block_breaks_all_but_gptj(family: LanguageModel):
    handle = block_of(family, 1).register_forward_hook(
        lambda _m, _a, out: (out[0],) if isinstance(out, tuple) else (out,)
    )
    try:
        if kind_of(family) == "gptj":
            family.logits([IDS])
        else:
            with pytest.raises((TypeError, AttributeError)):
                family.logits([IDS])
    finally:
        handle.remove()
    with intervene(family, {Site(1, "block"): lambda v: v}):
        family.logits([IDS])


def test_which_heads_are_tied_and_which_have_a_bias(family: LanguageModel):
    head, embedding = family.module("head"), family.module("embedding")
    assert (head.weight is embedding.weight) == (kind_of(family) == "gpt2")
    assert (head.bias is not None) == (kind_of(family) == "gptj")


def test_editing_a_layer_leaves_the_cache_up_to_it(family: LanguageModel):
    data = batch(family, [IDS])
    caches: list[DynamicCache] = []
    for scale in (1.0, 2.0):
        with intervene(family, {Site(1, "mlp"): lambda v, scale=scale: v * scale}), torch.no_grad():
            caches.append(DynamicCache(config=family.model.config))
            forward(family, data, 0, cache=caches[-1])
    for layer in range(family.n_layers):
        same = torch.equal(caches[0].layers[layer].keys, caches[1].layers[layer].keys)
        assert same == (layer <= 1)


def test_configurations_name_the_position_limit(family: LanguageModel):
    assert family.max_tokens == make_config("gpt2").n_positions == 64
