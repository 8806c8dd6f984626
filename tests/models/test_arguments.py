"""What blocks are handed, without running them; and their keys and values, without the rest of the block."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from knowedit.errors import InputError
from knowedit.models import (
    LanguageModel,
    PrefixCache,
    Recording,
    Site,
    batch,
    capture,
    intervene,
    load,
    read_out,
    record,
    resume,
)
from knowedit.models.replay.recording import _replaced
from tests.conftest import make_model
from tests.models.oracles import full_logits, hook_count
from tests.rounding import assert_same

ROWS = [[5, 6, 7, 8, 9, 10, 11], [300, 20, 31], [41, 2, 3, 4, 50]]
STARTS = [[0, 0, 0], [4, 2, 1], [0, 2, 3]]


@pytest.fixture(scope="module", params=["sdpa", "eager"])
def gpt2(request, tokenizer) -> LanguageModel:
    return load((make_model("gpt2", attn_implementation=request.param), tokenizer))


def extended(cache: PrefixCache, recording: Recording, layer: int, states: Tensor) -> PrefixCache:
    """The cache and what the block makes of the states."""
    return cache.extended(lambda own: resume(recording, layer, states, stop=layer + 1, cache=own))


def check_resumed(lm: LanguageModel, starts: list[int]) -> None:
    recording, arguments = record(lm, ROWS, start=starts), record(lm, ROWS, start=starts, only_arguments=True)
    assert torch.equal(arguments.batch.ids, recording.batch.ids)
    for layer in range(lm.n_layers + 1):
        with torch.no_grad():
            states = resume(arguments, layer, recording.states[layer])
        assert_same(read_out(lm, states, recording.batch.last), recording.logits)


@pytest.mark.parametrize("starts", STARTS, ids=str)
def test_the_arguments_are_those_of_a_recording(family: LanguageModel, starts):
    check_resumed(family, starts)


@pytest.mark.parametrize("starts", STARTS, ids=str)
def test_the_arguments_with_either_attention(gpt2: LanguageModel, starts):
    check_resumed(gpt2, starts)


def test_only_the_first_block_runs(family: LanguageModel):
    with capture(family, [Site(layer, "mlp") for layer in range(family.n_layers)]) as seen:
        record(family, ROWS, only_arguments=True)
    assert [site.layer for site in seen] == [0]
    assert_same(family.logits(ROWS)[0], full_logits(family, ROWS[0]))
    assert hook_count(family) == 0


def test_blocks_are_as_before_after_an_error(family: LanguageModel):
    def boom(value):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), intervene(family, {Site(0, "mlp"): boom}):
        record(family, ROWS, only_arguments=True)
    assert not any("forward" in vars(block) for block in family.blocks)
    assert hook_count(family) == 0


def test_a_forward_that_a_module_had_comes_back():
    module = nn.Linear(2, 2)
    own = module.forward = lambda value: value + 1
    with _replaced(module, lambda value: value * 5):
        assert float(module(torch.tensor(3.0))) == 15
    assert module.forward is own
    assert float(module(torch.tensor(3.0))) == 4


@pytest.mark.parametrize("start", [0, 3])
def test_an_extended_cache_is_that_of_a_whole_run(family: LanguageModel, start):
    ids, rows = ROWS[0], torch.tensor([0, 0])
    cache = PrefixCache.read(family, batch(family, [ids]))
    before = cache.before(start).select(rows)
    whole = record(family, [ids])
    some = record(family, [ids], start=start, cache=cache.before(start))
    for layer in range(family.n_layers):
        found = extended(before, some, layer, whole.states[layer][rows, start:])
        assert found.mask.tolist() == [[1] * len(ids)] * 2
        for name in ("keys", "values"):
            assert_same(getattr(found.layers[layer], name), getattr(cache.layers[layer], name)[rows])


def test_a_block_is_left_when_its_keys_are_made(family: LanguageModel):
    ids = ROWS[0]
    nothing = PrefixCache.read(family, batch(family, [ids])).before(0)
    recording = record(family, [ids], cache=nothing)
    with capture(family, [Site(1, "attention_out"), Site(1, "mlp_down"), Site(1, "block")]) as seen:
        extended(nothing, recording, 1, recording.states[1])
    assert not set(seen) & {Site(1, "attention_out"), Site(1, "block")}
    assert hook_count(family) == 0


def test_the_last_token_behind_an_extended_cache_is_that_of_the_whole_block(family: LanguageModel):
    ids, last = ROWS[0], len(ROWS[0]) - 1
    cache = PrefixCache.read(family, batch(family, [ids]))
    some = record(family, [ids], start=2, cache=cache.before(2))
    end = record(family, [ids], start=last, cache=cache.before(last), only_arguments=True)
    with torch.no_grad():
        for layer in range(family.n_layers):
            longer = extended(cache.before(2), some, layer, some.states[layer]).before(last)
            found = resume(end, layer, some.states[layer][:, -1:], stop=layer + 1, cache=longer)
            assert_same(found, some.states[layer + 1][:, -1:])


def test_no_cache_is_extended_where_none_was_recorded(family: LanguageModel):
    recording = record(family, ROWS[:1])
    nothing = PrefixCache.read(family, batch(family, ROWS[:1])).before(0)
    with pytest.raises(InputError, match="made with cache="):
        extended(nothing, recording, 1, recording.states[1])
