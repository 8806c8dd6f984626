from __future__ import annotations

import numpy as np
import pytest

from knowedit.editing import Convergence
from knowedit.linalg import SecondMoment

DIM = 24


def cause(random):
    """A factor of a true moment with eigenvalues over four decades."""
    return random.standard_normal((DIM, DIM)) * np.logspace(0, -2, DIM)


def moments(factor, count, random):
    keys = random.standard_normal((count, DIM)) @ factor.T
    return SecondMoment.zeros(DIM).update(keys)


def true_change(C_true, found, keys):
    """‖w − w_∞‖ / ‖w_∞‖ under the true moment, with inverses written out."""
    shares = []
    for k in keys:
        w, w_true = (np.linalg.solve(C, k) for C in (found, C_true))
        w, w_true = w / (k @ w), w_true / (k @ w_true)
        shares.append((w - w_true) @ C_true @ (w - w_true) / (w_true @ C_true @ w_true))
    return np.sqrt(np.mean(shares))


@pytest.mark.parametrize("count", [500, 5_000, 50_000])
def test_the_estimate_is_near_the_truth(count):
    """Against the moment that the keys were drawn from, which an experiment never has."""
    random = np.random.default_rng(count)
    factor = cause(random)
    keys = random.standard_normal((16, DIM)) @ factor.T
    estimates, truths = [], []
    for _ in range(10):
        first, second = (moments(factor, count // 2, random) for _ in range(2))
        estimates.append(Convergence.between(first, second, keys).change)
        truths.append(true_change(factor @ factor.T, first.merge(second).matrix, keys))
    assert 0.85 < np.mean(estimates) / np.mean(truths) < 1.25
    assert np.mean(truths) == pytest.approx(np.sqrt((DIM - 1) / count), rel=0.25)


def test_excess_is_what_an_insertion_loses():
    random = np.random.default_rng(0)
    factor = cause(random)
    C = factor @ factor.T
    keys = random.standard_normal((16, DIM)) @ factor.T
    first, second = (moments(factor, 1000, random) for _ in range(2))
    lost = []
    for k in keys:
        w = np.linalg.solve(first.merge(second).matrix, k)
        least = 1 / (k @ np.linalg.solve(C, k))
        lost.append((w @ C @ w) / (k @ w) ** 2 / least - 1)
    assert Convergence.between(first, second, keys).excess == pytest.approx(np.mean(lost), rel=0.5)


def test_equal_halves_change_nothing():
    half = moments(np.eye(DIM), 500, np.random.default_rng(0))
    found = Convergence.between(half, half, np.eye(DIM))
    assert found.change == 0
    assert found.excess == 0
    assert found.keys == DIM
    assert found.condition == pytest.approx(np.linalg.cond(half.factorise().scaled), rel=0.02)


def test_scale_does_not_matter():
    random = np.random.default_rng(1)
    first, second = (moments(np.eye(DIM), 300, random) for _ in range(2))
    found = Convergence.between(first, second, np.eye(DIM))
    scaled = [SecondMoment(half.raw_sum * 1e6, half.count) for half in (first, second)]
    assert Convergence.between(*scaled, 1e-3 * np.eye(DIM)).change == pytest.approx(found.change)


@pytest.mark.parametrize(("counts", "known"), [((10, 10), False), ((20, 20), True), ((1000, 0), True)])
def test_too_few_keys_give_no_figure(counts, known):
    """The whole, or a half, is not of full rank."""
    random = np.random.default_rng(2)
    first, second = (moments(np.eye(DIM), count, random) for count in counts)
    found = Convergence.between(first, second, np.eye(DIM))
    assert found.change is None
    assert found.excess is None
    assert (found.condition is not None) == known


def test_a_zero_key_is_left_out():
    random = np.random.default_rng(3)
    first, second = (moments(np.eye(DIM), 300, random) for _ in range(2))
    keys = np.eye(DIM)[:3]
    padded = np.vstack([keys, np.zeros(DIM)])
    assert Convergence.between(first, second, padded) == Convergence.between(first, second, keys)
