"""Recording from a later token on: the tokens before it are read into a KV cache, and nothing else changes."""

from __future__ import annotations

import pytest
import torch

from knowedit.errors import InputError
from knowedit.models import (
    LanguageModel,
    PrefixCache,
    Site,
    batch,
    capture,
    intervene,
    load,
    record,
    replay,
    resume,
)
from tests.conftest import make_model, noise
from tests.models.oracles import full_logits, hook_count
from tests.rounding import assert_same

ROWS = [[5, 6, 7, 8, 9, 10, 11], [300, 20, 31], [41, 2, 3, 4, 50]]
STARTS = [[4, 2, 1], [0, 2, 3], [6, 0, 0], [1, 1, 1]]


@pytest.fixture(scope="module", params=["sdpa", "eager"])
def gpt2(request, tokenizer) -> LanguageModel:
    return load((make_model("gpt2", attn_implementation=request.param), tokenizer))


def expected(lm: LanguageModel, starts: list[int]) -> list[torch.Tensor]:
    return [full_logits(lm, row)[start:] for row, start in zip(ROWS, starts, strict=True)]


def check_all_layers(lm: LanguageModel, starts: list[int]) -> None:
    recording = record(lm, ROWS, start=torch.tensor(starts))
    assert recording.batch.lengths.tolist() == [len(r) - s for r, s in zip(ROWS, starts, strict=True)]
    for layer in range(lm.n_layers + 1):
        with torch.no_grad():
            found = replay(recording, layer, recording.states[layer])
        for i, row in enumerate(expected(lm, starts)):
            assert_same(found[i, : len(row)], row)
            assert_same(recording.logits[i], row[-1])


@pytest.mark.parametrize("starts", STARTS, ids=str)
def test_replay_behind_a_cache_is_the_full_run(family: LanguageModel, starts):
    check_all_layers(family, starts)


@pytest.mark.parametrize("starts", STARTS[:2], ids=str)
def test_with_either_attention(gpt2: LanguageModel, starts):
    check_all_layers(gpt2, starts)


def test_states_are_those_of_the_whole_recording(family: LanguageModel):
    whole, part = record(family, ROWS), record(family, ROWS, start=[4, 2, 1])
    for full, short in zip(whole.states, part.states, strict=True):
        for i, start in enumerate([4, 2, 1]):
            length = len(ROWS[i]) - start
            assert_same(short[i, :length], full[i, start : start + length])


def test_a_changed_token_changes_the_rest_as_in_the_whole_run(family: LanguageModel):
    starts, change = torch.tensor([4, 2, 1]), noise(family.width)
    short, whole = record(family, ROWS, start=starts), record(family, ROWS)
    cut, full = short.states[2].clone(), whole.states[2].clone()
    cut[:, 0] += change
    full[torch.arange(3), starts] += change
    with torch.no_grad():
        found = replay(short, 2, cut, positions=short.batch.last)
        slow = replay(whole, 2, full, positions=whole.batch.last)
    assert_same(found, slow)
    assert (found - short.logits).abs().max() > 1e-2


def test_rows_are_free_and_many_replays_leave_the_cache(family: LanguageModel):
    recording = record(family, ROWS, start=[4, 2, 1])
    rows = torch.tensor([2, 0, 0, 1])
    with torch.no_grad():
        first = replay(recording, 1, recording.states[1])
        for _ in range(3):
            found = replay(recording, 1, recording.states[1][rows], rows)
            assert_same(found, first[rows])
        assert torch.equal(replay(recording, 1, recording.states[1]), first)


def test_one_recorded_row_serves_any_number(family: LanguageModel):
    recording = record(family, ROWS[:1], start=3)
    state = recording.states[1].repeat(4, 1, 1)
    with torch.no_grad():
        found = replay(recording, 1, state)
    for row in found:
        assert_same(row, full_logits(family, ROWS[0])[3:])


def test_tokens_before_the_start_are_not_run_again(family: LanguageModel):
    recording = record(family, ROWS, start=[4, 2, 1])
    with capture(family, [Site(2, "mlp")]) as seen, torch.no_grad():
        replay(recording, 1, recording.states[1])
    assert seen[Site(2, "mlp")].shape[:2] == (3, 4)


def test_gradients_flow_to_the_states_alone(family: LanguageModel):
    recording = record(family, ROWS, start=[4, 2, 1])
    states = recording.states[2].clone().requires_grad_(True)
    with family.frozen():
        assert not any(p.requires_grad for p in family.model.parameters())
        replay(recording, 2, states, positions=recording.batch.last).sum().backward()
    assert states.grad is not None
    assert bool((states.grad[:, 0] != 0).any())
    assert all(p.requires_grad and p.grad is None for p in family.model.parameters())


def test_frozen_keeps_flags_that_were_off_before(fresh_lm):
    lm = fresh_lm("gpt2")
    lm.projection(1).parameter.requires_grad_(False)
    with pytest.raises(KeyError), lm.frozen():
        raise KeyError
    assert [n for n, p in lm.model.named_parameters() if not p.requires_grad] == [
        "transformer.h.1.mlp.c_proj.weight"
    ]


def test_interventions_are_recorded_in_both_parts(family: LanguageModel):
    with intervene(family, {Site(None, "embedding"): lambda v: 1.5 * v}):
        found = record(family, ROWS, start=[4, 2, 1]).logits
        whole = record(family, ROWS).logits
    assert_same(found, whole)
    assert hook_count(family) == 0


def test_a_sliding_window_counts_true_distances(tokenizer):
    """Prefixes of different lengths: padding between prefix and new tokens would push tokens out of the window."""
    from transformers import MistralConfig, MistralForCausalLM

    sizes = {
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 64,
    }
    config = MistralConfig(hidden_size=32, vocab_size=400, sliding_window=4, **sizes)
    model = MistralForCausalLM(config).eval()
    for i, parameter in enumerate(model.parameters()):
        parameter.data += 0.3 * noise(*parameter.shape, seed=i)
    lm = load((model, tokenizer))
    check_all_layers(lm, [5, 1, 2])
    assert (full_logits(lm, ROWS[0])[-1] - full_logits(lm, ROWS[0][1:])[-1]).abs().max() > 1e-3


@pytest.mark.parametrize("start", [3, [0, 3, 0], [0, -1, 0], [0, 1], [[0, 1, 0]], [0.0, 1.0, 0.0]], ids=str)
def test_starts_that_do_not_fit_are_refused(family: LanguageModel, start):
    with pytest.raises(InputError, match="start"):
        record(family, ROWS, start=torch.tensor(start))


def test_the_cut_batch_has_the_mask_of_its_tokens(family: LanguageModel):
    data = record(family, ROWS, start=[4, 2, 1]).batch
    assert data.mask.sum(1).tolist() == data.lengths.tolist() == [3, 1, 4]
    assert data.positions[0, :3].tolist() == [4, 5, 6]


def test_chosen_rows_keep_their_mask(family: LanguageModel):
    cache = PrefixCache.read(family, batch(family, ROWS))
    rows = torch.tensor([2, 0])
    assert torch.equal(cache.select(rows).mask, cache.mask[rows])


def test_a_cache_that_the_caller_has_is_not_read_again(family: LanguageModel):
    cache = PrefixCache.read(family, batch(family, [ROWS[0]])).before(4)
    with capture(family, [Site(0, "mlp")]) as seen:
        short = record(family, ROWS[:1], start=4, cache=cache)
    assert seen[Site(0, "mlp")].shape[:2] == (1, 3)
    assert_same(short.logits[0], full_logits(family, ROWS[0])[-1])


def test_rows_with_other_prefixes_share_a_recording(family: LanguageModel):
    rows = [[5, 6, 7, 8, 9], [50, 60, 70, 8, 9], [15, 16, 17, 8, 9]]
    cache = PrefixCache.read(family, batch(family, rows))
    one = record(family, rows[:1], start=3, cache=cache.select(torch.tensor([0])).before(3))
    order = torch.tensor([2, 0, 1, 1])
    chosen = cache.before(3).select(torch.tensor([1, 2, 0])).select(torch.tensor([1, 2, 0, 0]))
    whole = record(family, rows)
    with torch.no_grad():
        states = resume(one, 1, whole.states[1][order, 3:], cache=chosen)
    assert_same(states, whole.states[-1][order, 3:])


def test_a_cache_that_does_not_fit_is_refused(family: LanguageModel):
    cache = PrefixCache.read(family, batch(family, [ROWS[0]]))
    with pytest.raises(InputError, match="before each start"):
        record(family, ROWS[:1], start=3, cache=cache.before(2))
    recording = record(family, ROWS[:1], start=3, cache=cache.before(3))
    with pytest.raises(InputError, match="does not fit"):
        resume(recording, 0, recording.states[0].repeat(2, 1, 1), cache=cache.before(3))
