"""Batches and probabilities, against one unpadded forward per row."""

from __future__ import annotations

import pytest
import torch

from knowedit.errors import InputError
from knowedit.models import (
    LanguageModel,
    batch,
    encode,
    forward,
    locate,
    next_token_probabilities,
    target_ids,
    target_token_log_probabilities,
)
from knowedit.models.probabilities import _shared
from tests.models.oracles import full_logits, hook_count
from tests.rounding import assert_same

TEXTS = ["Paris is", "The Space Needle is in downtown Seattle.", "日本", "Marie Curie worked in the field of"]
PAIRS = [
    ("The Space Needle is in", "Seattle"),
    ("Paris is", " the capital of France"),
    ("Marie Curie worked in the field of", "physics"),
    ("日本", "Paris a Paris"),
    ("a", "b"),
]


def joint(lm: LanguageModel, pairs: list[tuple[str, str]]) -> torch.Tensor:
    return torch.stack([tokens.sum() for tokens in target_token_log_probabilities(lm, pairs)])


def test_batch_is_explicit(tiny_gpt2: LanguageModel):
    data = batch(tiny_gpt2, [[5, 6, 7], [8]], pad_id=9)
    assert data.ids.tolist() == [[5, 6, 7], [8, 9, 9]]
    assert data.mask.tolist() == [[1, 1, 1], [1, 0, 0]]
    assert data.positions.tolist() == [[0, 1, 2], [0, 1, 2]]
    assert (data.lengths.tolist(), data.last.tolist(), data.rows, data.tokens) == ([3, 1], [2, 0], 2, 3)


def test_batch_reads_texts_prompts_and_ids(tiny_gpt2: LanguageModel):
    ids = encode(tiny_gpt2.tokenizer, "Paris is")
    data = batch(tiny_gpt2, ["Paris is", locate(tiny_gpt2, "{} is", "Paris"), ids])
    assert data.ids.tolist() == [ids] * 3


@pytest.mark.parametrize("items", [[], [[]], ["Paris", ""], "Paris"])
def test_bad_batches(items, tiny_gpt2: LanguageModel):
    with pytest.raises(InputError):
        batch(tiny_gpt2, items)


def test_too_many_tokens(family: LanguageModel):
    batch(family, [[1] * 64])
    with pytest.raises(InputError, match="64 positions, 65 tokens"):
        batch(family, [[1] * 65])


@pytest.mark.parametrize("pad_id", [0, 399])
def test_last_logits_are_those_of_the_row_alone(family: LanguageModel, pad_id):
    data = batch(family, TEXTS, pad_id=pad_id)
    found = family.logits(data, data.last)
    for row, text in zip(found, TEXTS, strict=True):
        expected = full_logits(family, encode(family.tokenizer, text))[-1]
        assert_same(row, expected)


def test_positions(family: LanguageModel):
    data = batch(family, TEXTS)
    with torch.no_grad():
        full = family.model(input_ids=data.ids, attention_mask=data.mask, position_ids=data.positions).logits
        wanted = torch.tensor([[0, 1], [5, 2], [1, 1], [3, 0]])
        assert_same(forward(family, data), full)
        assert_same(forward(family, data, 1), full[:, 1])
        expected = torch.stack([full[i, places] for i, places in enumerate(wanted)])
        assert_same(forward(family, data, wanted), expected)
    assert not family.logits(TEXTS).requires_grad


@pytest.mark.parametrize("positions", [-1, 99, torch.tensor([0, 1]), torch.tensor([0.0] * 4)])
def test_bad_positions(family: LanguageModel, positions):
    with pytest.raises(InputError, match="position"):
        family.logits(TEXTS, positions)
    assert hook_count(family) == 0


@pytest.mark.parametrize("batch_size", [1, 3, 32])
def test_next_token_probabilities(family: LanguageModel, batch_size):
    found = next_token_probabilities(family, TEXTS, batch_size=batch_size)
    torch.testing.assert_close(found.sum(-1), torch.ones(4))
    for row, text in zip(found, TEXTS, strict=True):
        expected = full_logits(family, encode(family.tokenizer, text))[-1].softmax(-1)
        torch.testing.assert_close(row, expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("batch_size", [1, 2, 32])
def test_target_log_probability_is_the_product_of_its_tokens(family: LanguageModel, batch_size):
    by_token = target_token_log_probabilities(family, PAIRS, batch_size=batch_size)
    lengths = set()
    for tokens, (text, target) in zip(by_token, PAIRS, strict=True):
        ids = encode(family.tokenizer, text)
        expected = []
        for token in target_ids(family.tokenizer, text, target):
            expected.append(full_logits(family, ids)[-1].log_softmax(-1)[token])
            ids = [*ids, token]
        lengths.add(len(expected))
        torch.testing.assert_close(tokens, torch.stack(expected), rtol=1e-5, atol=1e-4)
        torch.testing.assert_close(tokens.sum(), torch.stack(expected).sum(), rtol=1e-5, atol=1e-4)
    assert len(lengths) > 2


def test_scores_depend_on_neither_order_nor_company(family: LanguageModel):
    together = joint(family, PAIRS)
    assert torch.allclose(joint(family, PAIRS[::-1]).flip(0), together, atol=1e-4)
    alone = torch.cat([joint(family, [pair]) for pair in PAIRS])
    assert torch.allclose(alone, together, atol=1e-4)


def test_target_that_just_fits(family: LanguageModel):
    # The last target token is only predicted, so 64 positions score 65 tokens.
    text = " a" * 64
    (tokens,) = target_token_log_probabilities(family, [(text, "a")])
    assert len(encode(family.tokenizer, text)) == 64
    assert len(tokens) == 1


@pytest.mark.parametrize("pairs", [[], [("Paris is", "")], [("", "Paris")], [("Paris is ", "a")]])
def test_bad_pairs(pairs, tiny_gpt2: LanguageModel):
    with pytest.raises(InputError):
        target_token_log_probabilities(tiny_gpt2, pairs)


def test_bad_batch_size(tiny_gpt2: LanguageModel):
    with pytest.raises(InputError, match="batch_size"):
        target_token_log_probabilities(tiny_gpt2, PAIRS, batch_size=0)
    with pytest.raises(InputError, match="batch_size"):
        next_token_probabilities(tiny_gpt2, TEXTS, batch_size=-1)


def test_a_prompt_that_begins_another_is_read_off_the_longer_one(family):
    pairs = [
        ("Miles Davis plays the trumpet", "piano"),
        ("Miles Davis", "plays the trumpet"),
        ("Miles Davis plays", "the"),
        ("Glenn Gould", "plays the"),
    ]
    together = target_token_log_probabilities(family, pairs)
    for pair, found in zip(pairs, together, strict=True):
        (alone,) = target_token_log_probabilities(family, [pair])
        assert found.shape == alone.shape
        assert float((found - alone).abs().max()) <= 1e-5 * float(alone.abs().max())


def test_shared_beginnings_are_run_once():
    rows, places = _shared([[1], [1, 2], [3], [1, 2, 3], [1, 2], [1, 3]])
    assert sorted(rows) == [[1, 2, 3], [1, 3], [3]]
    assert [rows[place][:n] for place, n in zip(places, (1, 2, 1, 3, 2, 2), strict=True)] == [
        [1],
        [1, 2],
        [3],
        [1, 2, 3],
        [1, 2],
        [1, 3],
    ]
