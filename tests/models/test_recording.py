"""Replaying from any block, against the full run and against plain hooks."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from knowedit.errors import InputError
from knowedit.models import (
    LanguageModel,
    Site,
    batch,
    capture,
    intervene,
    load,
    read_out,
    record,
    replay,
    resume,
)
from tests.conftest import FAMILIES, make_model, noise
from tests.models.oracles import block_of, full_logits, hook, hook_count
from tests.rounding import assert_same

PADDED = [[5, 6, 7, 8, 9, 10, 11], [300, 20, 31], [41, 2, 3, 4, 50]]
EQUAL = [[5, 6, 7, 8, 9, 10, 11], [300, 20, 31, 99, 98, 97, 96]]
KINDS = [(name, kind) for name in FAMILIES for kind in ("sdpa", "eager") if (name, kind) != ("gptj", "sdpa")]


@pytest.fixture(scope="module", params=KINDS, ids="-".join)
def lm(request, tokenizer) -> LanguageModel:
    family, attention = request.param
    model = make_model(family, attn_implementation=attention)
    assert model.config._attn_implementation == attention
    return load((model, tokenizer))


@pytest.mark.parametrize("rows", [PADDED, EQUAL, PADDED[:1]], ids=["padded", "equal", "single"])
def test_replay_from_every_block_is_the_full_run(lm: LanguageModel, rows):
    recording = record(lm, rows)
    assert len(recording.states) == lm.n_layers + 1
    full = lm.logits(rows)
    with torch.no_grad():
        for layer in range(lm.n_layers + 1):
            found = replay(recording, layer, recording.states[layer])
            assert (found - full).abs().max() <= 1e-6
            for i, row in enumerate(rows):
                assert_same(found[i, : len(row)], full_logits(lm, row))


def test_states_are_what_the_blocks_get_and_give(lm: LanguageModel):
    recording = record(lm, PADDED)
    sites = [Site(layer, "block") for layer in range(lm.n_layers)]
    with capture(lm, [*sites, Site(0, "block", "input")]) as seen:
        full = lm.logits(PADDED)
    assert torch.equal(recording.states[0], seen[Site(0, "block", "input")])
    for layer, site in enumerate(sites):
        assert torch.equal(recording.states[layer + 1], seen[site])
    assert torch.allclose(recording.logits, torch.stack([full[0, 6], full[1, 2], full[2, 4]]), atol=1e-6)
    assert not any(state.requires_grad for state in recording.states)
    assert hook_count(lm) == 0


def test_positions(lm: LanguageModel):
    recording = record(lm, PADDED)
    full = lm.logits(PADDED)
    state = recording.states[2]
    with torch.no_grad():
        last = replay(recording, 2, state, positions=recording.batch.last)
        several = replay(recording, 2, state, positions=torch.tensor([[0, 1], [2, 2], [4, 0]]))
        one = replay(recording, 2, state, positions=1)
    assert_same(last, recording.logits)
    assert_same(one, full[:, 1])
    assert_same(several, torch.stack([full[0, [0, 1]], full[1, [2, 2]], full[2, [4, 0]]]))


@pytest.mark.parametrize("ids", [PADDED, EQUAL], ids=["padded", "equal"])
def test_rows_are_free(lm: LanguageModel, ids):
    """Every new row must take its own recorded row's mask and positions."""
    recording = record(lm, ids)
    rows = torch.tensor([1, 0, 1, len(ids) - 1, 0])
    with torch.no_grad():
        for layer in range(lm.n_layers + 1):
            found = replay(recording, layer, recording.states[layer][rows], rows=rows)
            assert_same(found, lm.logits(ids)[rows])


def test_rows_of_other_lengths_matter(tiny_gptj: LanguageModel):
    """Guards the test above: with the wrong row's mask the result is another, so rows= is really used."""
    data = batch(tiny_gptj, PADDED)
    # Masked on the left on purpose: only then can a real token see padding, and masks differ where it counts.
    recording = record(tiny_gptj, replace(data, mask=data.mask.flip(1)))
    rows = torch.tensor([1, 0, 2])
    with torch.no_grad():
        right = replay(recording, 1, recording.states[1][rows], rows=rows)
        wrong = replay(recording, 1, recording.states[1][rows])
        full = replay(recording, 0, recording.states[0])[rows]
    assert_same(right, full)
    assert (wrong - full).abs().max() > 1e-2


def test_one_recorded_row_serves_any_number(lm: LanguageModel):
    recording = record(lm, PADDED[:1])
    state = recording.states[2].repeat(5, 1, 1)
    with torch.no_grad():
        for rows in (None, torch.zeros(5, dtype=torch.long)):
            found = replay(recording, 2, state, rows=rows)
            assert_same(found, lm.logits(PADDED[:1]))


def test_blocks_get_arguments_for_as_many_rows(lm: LanguageModel):
    """These families would broadcast a single row by themselves; others need not."""
    seen = []
    handle = lm.blocks[2].register_forward_pre_hook(
        lambda _m, args, kwargs: seen.append(kwargs["position_ids"].shape), with_kwargs=True
    )
    recording = record(lm, PADDED[:1])
    with torch.no_grad():
        replay(recording, 2, recording.states[2].repeat(5, 1, 1))
    handle.remove()
    assert [tuple(shape) for shape in seen] == [(1, 7), (5, 7)]


def test_forks_of_a_corrupted_run_equal_plain_hooks(lm: LanguageModel):
    """Causal tracing: clean states restored at each (layer, token) of several noisy runs."""
    ids, draws = PADDED[0], 3
    tokens = len(ids)
    eps = noise(draws, 2, lm.width)

    def corrupt(value):
        value = value.clone()
        value[1:, 1:3] += eps
        return value

    with intervene(lm, {Site(None, "embedding"): corrupt}):
        recording = record(lm, [ids] * (draws + 1))
    rows = torch.arange(1, draws + 1).repeat(tokens)
    spread = []
    for layer in range(lm.n_layers):
        after = recording.states[layer + 1]
        forks = after[1:].repeat(tokens, 1, 1, 1)
        for token in range(tokens):
            forks[token, :, token] = after[0, token]
        with torch.no_grad():
            found = replay(recording, layer + 1, forks.flatten(0, 1), rows=rows, positions=tokens - 1)
        expected = [plain_restore(lm, ids, corrupt, layer, token, draws) for token in range(tokens)]
        assert_same(found, torch.cat(expected))
        spread.append(found.std())
    assert min(spread) > 0.1


@torch.no_grad()
def plain_restore(lm, ids, corrupt, layer, token, draws):
    def restore(value):
        value = value.clone()
        value[1:, token] = value[0, token]
        return value

    with hook(lm.model.get_input_embeddings(), corrupt), hook(block_of(lm, layer), restore):
        return lm.model(torch.tensor([ids] * (draws + 1)), use_cache=False).logits[1:, -1]


@pytest.mark.parametrize("layer", range(4))
def test_gradient_of_a_changed_mlp_output(lm: LanguageModel, layer):
    """v*: adding delta to the state after block l is adding it to that block's MLP output (law 3)."""
    recording = record(lm, PADDED)
    tokens = torch.tensor([3, 2, 2])
    start = 0.1 * noise(lm.width)

    fast = start.clone().requires_grad_()
    state = recording.states[layer + 1].clone()
    state[torch.arange(3), tokens] += fast
    logits = replay(recording, layer + 1, state, positions=recording.batch.last)
    loss = -logits.log_softmax(-1)[:, 7].mean()
    (gradient,) = torch.autograd.grad(loss, fast)

    slow = start.clone().requires_grad_()

    def add(value):
        value = value.clone()
        value[torch.arange(3), tokens] += slow
        return value

    data = batch(lm, PADDED)
    with hook(block_of(lm, layer).mlp, add):
        out = lm.model(
            data.ids, attention_mask=data.mask, position_ids=data.positions, use_cache=False
        ).logits
    expected_loss = -out[torch.arange(3), data.last].log_softmax(-1)[:, 7].mean()
    (expected,) = torch.autograd.grad(expected_loss, slow)
    assert_same(loss, expected_loss)
    torch.testing.assert_close(gradient, expected, rtol=1e-3, atol=1e-5)
    assert gradient.abs().max() > 1e-3
    assert all(p.grad is None for p in lm.model.parameters())


def test_record_inside_an_intervention(lm: LanguageModel):
    change = {Site(1, "mlp"): lambda value: value * 2}
    with intervene(lm, change):
        changed, full = record(lm, PADDED), lm.logits(PADDED)
    plain = record(lm, PADDED)
    assert torch.equal(changed.states[1], plain.states[1])
    assert not torch.allclose(changed.states[2], plain.states[2], atol=1e-2)
    with torch.no_grad():
        # The changed block lies behind: replaying from after it keeps the change.
        assert (replay(changed, 2, changed.states[2]) - full).abs().max() <= 1e-6


def test_interventions_work_inside_a_replay(lm: LanguageModel):
    change = {Site(2, "attention"): lambda value: value * 0, Site(3, "mlp"): lambda value: value + 1}
    recording = record(lm, PADDED)
    with intervene(lm, change):
        expected = lm.logits(PADDED)
        with torch.no_grad():
            found = replay(recording, 1, recording.states[1])
    assert (found - expected).abs().max() <= 1e-6
    assert (found - lm.logits(PADDED)).abs().max() > 1e-2


def test_resume_in_two_steps(lm: LanguageModel):
    recording = record(lm, PADDED)
    with torch.no_grad():
        middle = resume(recording, 1, recording.states[1], stop=3)
        assert torch.equal(middle, recording.states[3])
        assert torch.equal(resume(recording, 3, middle), recording.states[4])
        assert torch.equal(read_out(lm, recording.states[4]), lm.logits(PADDED))


def test_recording_survives_later_changes_of_the_caller(lm: LanguageModel):
    recording = record(lm, PADDED)
    with intervene(lm, {Site(1, "block"): lambda value: value.zero_()}):
        lm.logits(PADDED)
    with torch.no_grad():
        assert (replay(recording, 2, recording.states[2]) - lm.logits(PADDED)).abs().max() <= 1e-6


@pytest.mark.parametrize(
    ("layer", "shape", "rows", "message"),
    [
        (5, (3, 7, 32), None, "from 0 to 4"),
        (-1, (3, 7, 32), None, "from 0 to 4"),
        (1, (3, 6, 32), None, "do not fit"),
        (1, (3, 7, 31), None, "do not fit"),
        (1, (7, 32), None, "do not fit"),
        (1, (4, 7, 32), None, "give rows="),
        (1, (1, 7, 32), None, "give rows="),
        (1, (2, 7, 32), [0, 1, 2], "rows must be 2 numbers from 0 to 2"),
        (1, (2, 7, 32), [0, 3], "rows must be 2 numbers from 0 to 2"),
    ],
)
def test_bad_requests(lm: LanguageModel, layer, shape, rows, message):
    with pytest.raises(InputError, match=message):
        replay(record(lm, PADDED), layer, torch.zeros(shape), rows=rows)


def test_hooks_are_gone_when_the_forward_fails(lm: LanguageModel):
    def boom(value):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), intervene(lm, {Site(2, "mlp"): boom}):
        record(lm, PADDED)
    assert hook_count(lm) == 0


def test_the_last_block_may_be_named_as_the_stop(lm: LanguageModel):
    recording = record(lm, PADDED)
    with torch.no_grad():
        whole = resume(recording, 1, recording.states[1])
        assert torch.equal(resume(recording, 1, recording.states[1], stop=lm.n_layers), whole)
    with pytest.raises(InputError, match=f"no layer {lm.n_layers + 1}"):
        resume(recording, 1, recording.states[1], stop=lm.n_layers + 1)


def test_an_argument_for_all_rows_is_left_as_it_is(tiny_gpt2: LanguageModel):
    """A leading 1 stands for all rows (a mask, a rotary table), and so does a vector."""
    from knowedit.models.replay.replaying import _RowArguments

    recording = record(tiny_gpt2, PADDED)
    chooser = _RowArguments(recording, recording.states[0][[2, 0]], torch.tensor([2, 0]), None)
    for value in (noise(1, 7), noise(3), noise(5, 3), "text", None):
        assert chooser(value) is value
    assert torch.equal(chooser(noise(3, 7)), noise(3, 7)[[2, 0]])
