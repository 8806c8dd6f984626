from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch

from knowedit.editing.statistics import outer_sum
from knowedit.editing.statistics.outer_sum import OuterSum
from tests.conftest import noise

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(outer_sum, "BLOCK", 8)


def summed(keys, pieces):
    total = OuterSum(keys.shape[1], CPU)
    for piece in torch.split(keys, pieces):
        total.add(piece)
    return total


@pytest.mark.parametrize("pieces", [1, 3, 8, 20, 100])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_sum_is_that_of_outer_products(pieces, dtype):
    keys = noise(50, 7).to(dtype)
    found = summed(keys, pieces).moment()
    expected = sum(torch.outer(key, key) for key in keys.double())
    assert found.count == 50
    torch.testing.assert_close(found.raw_sum, expected, rtol=1e-14, atol=1e-13)
    assert torch.equal(found.raw_sum, found.raw_sum.T)


def test_float32_keys_are_summed_to_float64_rounding():
    """Against exact rational arithmetic, for keys of very different size."""
    keys = noise(40, 3) * torch.logspace(-4, 4, 40)[:, None]
    found = summed(keys, 7).moment().raw_sum
    rows = [[Fraction(float(x)) for x in key] for key in keys]
    for i in range(3):
        for j in range(3):
            exact = sum(row[i] * row[j] for row in rows)
            size = sum(abs(row[i] * row[j]) for row in rows)
            assert abs(Fraction(float(found[i, j])) - exact) <= size * Fraction(2) ** -50


def test_keys_that_are_not_contiguous():
    keys = noise(7, 30)
    total = OuterSum(7, CPU)
    total.add(keys.T)
    torch.testing.assert_close(total.moment().raw_sum, keys.double() @ keys.double().T)


def test_it_goes_on_to_the_bit():
    keys = noise(100, 5)
    first = summed(keys[:37], 9)
    restored = OuterSum.restored(first.state(), first.count, CPU)
    for total in (first, restored):
        total.add(keys[37:])
    assert restored.count == 100
    assert torch.equal(first.moment().raw_sum, restored.moment().raw_sum)


def test_a_moment_does_not_change_with_later_keys():
    total = summed(noise(20, 4), 6)
    moment = total.moment()
    before = moment.raw_sum.clone()
    total.add(noise(20, 4, seed=2))
    total.flush()
    assert torch.equal(moment.raw_sum, before)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_bad_number_is_seen_at_once_and_later(bad):
    total = summed(noise(20, 4), 6)
    assert total.is_finite()
    total.add(torch.tensor([[0.0, bad, 0.0, 0.0]]))
    assert not total.is_finite()
    total.add(noise(20, 4))
    assert not total.is_finite()
