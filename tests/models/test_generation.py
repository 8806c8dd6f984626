"""Cached generation, against forwards without a cache."""

from __future__ import annotations

import copy

import pytest
import torch
from transformers import DynamicCache

from knowedit.errors import InputError
from knowedit.models import Batch, LanguageModel, Site, batch, encode, forward, intervene, load
from knowedit.models.generation import _choose
from tests.conftest import FAMILIES, make_model, make_tokenizer
from tests.models.oracles import full_logits, hook_count
from tests.rounding import assert_same

PROMPTS = [[5, 6, 7, 8, 9, 10, 11], [300], [41, 2, 3, 4, 50]]


def seeded(seed: int = 3) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def uncached(lm, prompts, count, generator=None, top_k=None, temperature=1.0) -> list[list[int]]:
    """The whole text is run again for every token, each row alone and unpadded."""
    rows = [list(row) for row in prompts]
    for _ in range(count):
        logits = torch.stack([full_logits(lm, row)[-1] for row in rows])
        for row, token in zip(rows, _choose(logits, generator, top_k, temperature).tolist(), strict=True):
            row.append(token)
    return [row[len(prompt) :] for row, prompt in zip(rows, prompts, strict=True)]


# GPT-J has no sdpa.
KINDS = [(name, kind) for name in FAMILIES for kind in ("sdpa", "eager") if (name, kind) != ("gptj", "sdpa")]


@pytest.fixture(scope="module", params=KINDS, ids="-".join)
def lm(request, tokenizer) -> LanguageModel:
    family, attention = request.param
    # Smaller weights: greedy text of the larger ones soon repeats one token, which tests little.
    return load((make_model(family, scale=0.12, attn_implementation=attention), tokenizer))


def test_logits_with_and_without_cache_agree(lm: LanguageModel):
    data = batch(lm, PROMPTS)
    new_data, mask, keep, cache = data, data.mask, data.last, DynamicCache(config=lm.model.config)
    rows = [list(row) for row in PROMPTS]
    with torch.no_grad():
        for step in range(20):
            logits = forward(lm, new_data, keep, cache=cache, mask=mask)
            expected = torch.stack([full_logits(lm, row)[-1] for row in rows])
            assert_same(logits, expected)
            new = [(37 * step + 11 * i) % 400 for i in range(3)]
            rows = [[*row, token] for row, token in zip(rows, new, strict=True)]
            one = torch.ones(3, dtype=torch.long)
            new_data = Batch(torch.tensor(new)[:, None], one[:, None], (data.lengths + step)[:, None], one)
            mask = torch.cat([mask, one[:, None]], 1)
            keep = 0


def test_greedy(lm: LanguageModel):
    found = lm.generate_ids(PROMPTS, 25, stop_at_eos=False)
    assert found == uncached(lm, PROMPTS, 25)
    assert len({token for row in found for token in row}) > 5


def test_greedy_is_the_librarys_own(lm: LanguageModel):
    for prompt in PROMPTS:
        expected = lm.model.generate(
            torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
            max_new_tokens=20,
            do_sample=False,
            eos_token_id=None,
            pad_token_id=0,
        )
        assert lm.generate_ids([prompt], 20, stop_at_eos=False) == [expected[0, len(prompt) :].tolist()]


@pytest.mark.parametrize(("top_k", "temperature"), [(None, 1.0), (5, 1.0), (None, 0.5), (1000, 2.0)])
def test_sampling(lm: LanguageModel, top_k, temperature):
    options = {"top_k": top_k, "temperature": temperature}
    found = lm.generate_ids(PROMPTS, 8, generator=seeded(), stop_at_eos=False, **options)
    assert found == uncached(lm, PROMPTS, 8, seeded(), **options)
    assert found == lm.generate_ids(PROMPTS, 8, generator=seeded(), stop_at_eos=False, **options)
    assert found != lm.generate_ids(PROMPTS, 8, generator=seeded(4), stop_at_eos=False, **options)


def test_only_the_given_generator_is_used(family: LanguageModel):
    before = torch.get_rng_state()
    generator = seeded()
    state = generator.get_state()
    family.generate("Paris is", 5, generator=generator)
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(generator.get_state(), state)


def test_many_samples_from_the_start_token(family: LanguageModel):
    rows = family.generate_ids([[family.start_id]] * 8, 5, generator=seeded(), stop_at_eos=False)
    assert len(rows) == 8
    assert len({tuple(row) for row in rows}) > 1
    assert all(len(row) == 5 for row in rows)


def test_top_k_one_is_greedy(family: LanguageModel):
    drawn = family.generate_ids(PROMPTS, 8, generator=seeded(), top_k=1, stop_at_eos=False)
    assert drawn == family.generate_ids(PROMPTS, 8, stop_at_eos=False)


def test_draws_follow_the_probabilities():
    logits = torch.tensor([[0.0, 1.0, 2.0, -1.0]]).expand(20000, 4)
    for top_k, temperature in [(None, 1.0), (2, 1.0), (None, 2.0)]:
        drawn = _choose(logits, seeded(), top_k, temperature)
        expected = logits[0] / temperature
        if top_k:
            expected = expected.masked_fill(torch.tensor([True, False, False, True]), float("-inf"))
        found = torch.bincount(drawn, minlength=4) / len(drawn)
        torch.testing.assert_close(found, expected.softmax(-1), atol=0.015, rtol=0)


def test_end_of_text_stops_a_row_and_is_left_out(tokenizer):
    lm = load((make_model("gpt2", scale=0.12), tokenizer))
    free = lm.generate_ids(PROMPTS, 25, stop_at_eos=False)
    end = free[0][4]
    tokenizer = make_tokenizer()
    tokenizer.eos_token = tokenizer.convert_ids_to_tokens(end)
    lm = load((lm.model, tokenizer))
    assert lm.end_id == end
    stopped = lm.generate_ids(PROMPTS, 25)
    assert stopped == [row[: row.index(end)] if end in row else row for row in free]
    assert len(stopped[0]) <= 4
    assert lm.generate_ids(PROMPTS, 25, stop_at_eos=False) == free
    assert lm.generate_ids(PROMPTS[:1], 25) == stopped[:1]


def ending(lm: LanguageModel, end: int) -> LanguageModel:
    """The model with another end-of-text token."""
    tokenizer = copy.deepcopy(lm.tokenizer)
    tokenizer.eos_token = tokenizer.convert_ids_to_tokens(end)
    return load((lm.model, tokenizer))


def before(rows: list[list[int]], end: int) -> list[list[int]]:
    return [row[: row.index(end)] if end in row else row for row in rows]


@pytest.mark.parametrize("options", [{}, {"top_k": 3}])
def test_a_row_that_ends_changes_nothing_in_the_others(lm: LanguageModel, options):
    def text(model, stop):
        drawn = {"generator": seeded(), **options} if options else {}
        return model.generate_ids(PROMPTS, 12, stop_at_eos=stop, **drawn)

    free = text(lm, False)
    ends = {row[n] for row in free for n in (0, 3, 8)}
    assert any(0 < sum(end in row for row in free) < 3 for end in ends)
    for end in ends:
        assert text(ending(lm, end), True) == before(free, end)


@pytest.mark.parametrize(("name", "fields"), [("mistral", {"sliding_window": 10})])
def test_a_row_that_ends_leaves_the_attention_window_right(name, fields, tokenizer):
    lm = load((make_model(name, scale=0.12, **fields), tokenizer))
    equal = [row[:5] for row in (PROMPTS[0], PROMPTS[2])]
    free = lm.generate_ids(equal, 20, stop_at_eos=False)
    end = next(token for token in free[0][2:] if token not in free[1])
    assert ending(lm, end).generate_ids(equal, 20) == before(free, end)


def test_rows_that_have_ended_are_not_run(tiny_gpt2: LanguageModel):
    free = tiny_gpt2.generate_ids(PROMPTS, 12, generator=seeded(), stop_at_eos=False)
    lm = ending(tiny_gpt2, free[0][2])
    sizes: list[int] = []
    with intervene(lm, {Site(None, "embedding"): lambda value: sizes.append(len(value)) or value}):
        found = lm.generate_ids(PROMPTS, 12, generator=seeded())
    assert sizes == [sum(len(row) >= step for row in found) for step in range(len(sizes))]
    assert sizes[0] == 3 > sizes[-1]


def test_nothing_runs_after_the_last_row_has_ended(family: LanguageModel):
    end = family.generate_ids([[5, 6]], 3, stop_at_eos=False)[0][1]
    tokenizer = make_tokenizer()
    tokenizer.eos_token = tokenizer.convert_ids_to_tokens(end)
    lm = load((family.model, tokenizer))
    calls: list[int] = []
    with intervene(lm, {Site(None, "embedding"): count(calls)}):
        assert len(lm.generate_ids([[5, 6]], 30)[0]) <= 1
    assert 1 <= len(calls) <= 2


def count(calls: list[int]):
    def note(value):
        calls.append(1)
        return value

    return note


@pytest.mark.parametrize("prompt", ["Paris is", "São Paulo, 日本", " {x} ", "a  b\n", "don't . stop !"])
def test_text_begins_with_the_prompt(family: LanguageModel, prompt):
    text = family.generate(prompt, 6, stop_at_eos=False)
    new = family.generate_ids([prompt], 6, stop_at_eos=False)[0]
    assert text.startswith(prompt)
    assert text[len(prompt) :] == family.tokenizer.decode(new, clean_up_tokenization_spaces=False)


def test_empty_prompt_starts_from_the_start_token(family: LanguageModel):
    assert family.generate("", 4, stop_at_eos=False) == family.tokenizer.decode(
        family.generate_ids([[0]], 4, stop_at_eos=False)[0]
    )


WINDOWS = [
    ("mistral", {"sliding_window": 10}),
    ("qwen2", {"use_sliding_window": True, "sliding_window": 10, "max_window_layers": 2}),
]


@pytest.mark.parametrize(("name", "fields"), WINDOWS)
def test_text_longer_than_the_attention_window(name, fields, tokenizer):
    lm = load((make_model(name, scale=0.12, **fields), tokenizer))
    far = load((make_model(name, scale=0.12), tokenizer))
    equal = [row[:5] for row in (PROMPTS[0], PROMPTS[2])]
    assert lm.window == 10
    assert lm.generate_ids(equal, 20, stop_at_eos=False) == uncached(lm, equal, 20)
    assert lm.generate_ids(PROMPTS[:1], 20, stop_at_eos=False) == uncached(lm, PROMPTS[:1], 20)
    assert lm.generate_ids(equal, 20, stop_at_eos=False) != far.generate_ids(equal, 20, stop_at_eos=False)


@pytest.mark.parametrize(("name", "fields"), WINDOWS)
def test_padded_rows_must_not_outgrow_the_window(name, fields, tokenizer, monkeypatch):
    """The library counts padding as tokens of the window: shorter rows would silently get wrong text."""
    lm = load((make_model(name, scale=0.12, **fields), tokenizer))
    assert lm.generate_ids(PROMPTS, 3, stop_at_eos=False) == uncached(lm, PROMPTS, 3)
    with pytest.raises(InputError, match=r"last 10 tokens only.*prompts of one length"):
        lm.generate_ids(PROMPTS, 4)
    monkeypatch.setattr("knowedit.models.generation._check_window", lambda *_: None)
    assert lm.generate_ids(PROMPTS, 20, stop_at_eos=False) != uncached(lm, PROMPTS, 20)


def test_no_new_tokens(family: LanguageModel):
    assert family.generate("Paris is", 0) == "Paris is"
    assert family.generate_ids(PROMPTS, 0) == [[], [], []]


def test_position_limit(family: LanguageModel):
    assert len(family.generate_ids([[5] * 60], 4, stop_at_eos=False)[0]) == 4
    with pytest.raises(InputError, match=r"64 positions, 65 tokens .*shorten the prompt"):
        family.generate_ids([[5] * 60], 5)
    with pytest.raises(InputError, match="64 positions"):
        family.generate("Paris is", 100)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top_k": 5}, "give a generator"),
        ({"temperature": 0.5}, "give a generator"),
        ({"top_k": 0, "generator": seeded()}, "at least 1"),
        ({"temperature": 0.0, "generator": seeded()}, "more than 0"),
        ({"temperature": float("nan"), "generator": seeded()}, "more than 0"),
    ],
)
def test_bad_options(tiny_gpt2: LanguageModel, options, message):
    with pytest.raises(InputError, match=message):
        tiny_gpt2.generate("Paris is", 3, **options)


def test_negative_length(tiny_gpt2: LanguageModel):
    with pytest.raises(InputError, match="max_new_tokens"):
        tiny_gpt2.generate("Paris is", -1)


def test_no_start_token():
    lm = load((make_model("gpt2", bos_token_id=None, eos_token_id=None), make_tokenizer()))
    lm.tokenizer.bos_token = lm.tokenizer.eos_token = None
    assert lm.end_id is None
    with pytest.raises(InputError, match="no start token"):
        lm.generate("", 3)
    assert encode(lm.tokenizer, "Paris")
    assert len(lm.generate_ids([[5]], 3)[0]) == 3


def test_no_hooks_stay(family: LanguageModel):
    family.generate("Paris is", 3)
    assert hook_count(family) == 0
