"""OuterSum: the one sum of k kᵀ, in blocks and in place."""

from __future__ import annotations

from fractions import Fraction

import array_api_strict
import numpy as np
import pytest
import torch

from knowedit.linalg import OuterSum, SecondMoment, outer_sum
from tests.conftest import noise


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(outer_sum, "BLOCK", 8)


def summed(keys, pieces):
    total = OuterSum(torch.zeros(keys.shape[1], keys.shape[1], dtype=torch.float64))
    for piece in torch.split(keys, pieces):
        total.add(piece)
    return total


@pytest.mark.parametrize("pieces", [1, 3, 8, 20, 100])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_sum_is_that_of_outer_products(pieces, dtype):
    keys = noise(50, 7).to(dtype)
    total = summed(keys, pieces)
    found = total.total()
    expected = sum(torch.outer(key, key) for key in keys.double())
    assert total.count == 50
    torch.testing.assert_close(found, expected, rtol=1e-14, atol=1e-13)
    assert torch.equal(found, found.T)


def test_float32_keys_are_summed_to_float64_rounding():
    """Against exact rational arithmetic, for keys of very different size."""
    keys = noise(40, 3) * torch.logspace(-4, 4, 40)[:, None]
    found = summed(keys, 7).total()
    rows = [[Fraction(float(x)) for x in key] for key in keys]
    for i in range(3):
        for j in range(3):
            exact = sum(row[i] * row[j] for row in rows)
            size = sum(abs(row[i] * row[j]) for row in rows)
            assert abs(Fraction(float(found[i, j])) - exact) <= size * Fraction(2) ** -50


@pytest.mark.parametrize("convert", [torch.Tensor.numpy, lambda keys: array_api_strict.asarray(keys.numpy())])
def test_every_library_has_the_same_sum_of_its_own_kind(convert):
    keys = noise(30, 4, seed=3)
    expected = summed(keys, 11).total()
    total = OuterSum(convert(torch.zeros(4, 4)))
    total.add(convert(keys))
    assert type(total.total()) is type(convert(keys))
    assert np.array_equal(np.asarray(total.total()), expected.numpy())


def test_a_second_moment_is_summed_by_it():
    keys = noise(50, 7)
    moment = SecondMoment.zeros(7, like=keys).update(keys[:20]).update(keys[20:])
    total = summed(keys[:20], 20)
    total.is_finite()  # the block is multiplied at the end of an update
    total.add(keys[20:])
    assert torch.equal(moment.raw_sum, total.total())


def test_keys_that_are_not_contiguous():
    keys = noise(7, 30)
    total = OuterSum(torch.zeros(7, 7))
    total.add(keys.T)
    torch.testing.assert_close(total.total(), keys.double() @ keys.double().T)


def test_it_goes_on_to_the_bit():
    keys = noise(100, 5)
    first = summed(keys[:37], 9)
    restored = OuterSum(torch.from_numpy(first.state()), first.count)
    for total in (first, restored):
        total.add(keys[37:])
    assert restored.count == 100
    assert torch.equal(first.total(), restored.total())


def test_neither_the_start_nor_a_total_changes_with_later_keys():
    start = torch.eye(4, dtype=torch.float64)
    total = OuterSum(start)
    total.add(noise(20, 4))
    found = total.total()
    before = found.clone()
    total.add(noise(20, 4, seed=2))
    assert total.is_finite()
    assert torch.equal(found, before)
    assert torch.equal(start, torch.eye(4, dtype=torch.float64))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_bad_number_is_seen_at_once_and_later(bad):
    total = summed(noise(20, 4), 6)
    assert total.is_finite()
    total.add(torch.tensor([[0.0, bad, 0.0, 0.0]]))
    assert not total.is_finite()
    total.add(noise(20, 4))
    assert not total.is_finite()
