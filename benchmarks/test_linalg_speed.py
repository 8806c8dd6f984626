"""How long an insertion takes at GPT-2 XL's size, beside the float32 inverse of the released ROME code.

    nox -s bench -- -k linalg_speed        about 70 s on one thread; leave it out with -k "not linalg_speed"

W is 1600 × 6400, C has a condition of 1e6. Each row of the table holds two times of one run, one after the other,
and the largest error ‖Ŵk − v‖ / ‖v‖ of both. The released code inverts C in float32 once for a layer and keeps
the inverse; here a Cholesky factor in float64 is kept, and every solve is refined until it is right to rounding.
A batch is compared with what the released code has for it: one pair after the other.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import numpy as np
import pytest
import torch
from test_linalg_precision import D_IN, D_OUT, released_insert, synthetic_moment

from knowedit.linalg import FactorisedMoment, insert_key_value, insert_key_values

PAIRS = 20
HEAD = "| what | knowedit, s | float32 inverse, s | ratio | error | error, float32 |\n" + "|---" * 6 + "|"


@dataclass(frozen=True)
class Layer:
    """A weight, its second moment, and new pairs drawn as C says keys are."""

    W: np.ndarray
    C: np.ndarray
    K: np.ndarray
    V: np.ndarray


@pytest.fixture(scope="module")
def layer():
    random = np.random.default_rng(0)
    C, typical = synthetic_moment(1e6, D_IN, random)
    W = random.standard_normal((D_OUT, D_IN)) / D_IN**0.5
    keys = typical[:, None] * 0.1 + C @ random.standard_normal((D_IN, PAIRS))
    return Layer(W, C, keys, random.standard_normal((D_OUT, PAIRS)))


@pytest.fixture(scope="module")
def held(layer):
    """What either side keeps: the factor and the inverse."""
    return FactorisedMoment.from_matrix(layer.C), torch.inverse(torch.from_numpy(layer.C).float())


@pytest.fixture(scope="module", autouse=True)
def rows():
    lines = []
    yield lines
    print("\n" + "\n".join([HEAD, *lines]))


class Timed:
    """A call that keeps its times and its last result."""

    def __init__(self, act: Callable[[], object]):
        self.act, self.times, self.result = act, [], None

    def __call__(self):
        start = time.perf_counter()
        self.result = self.act()
        self.times.append(time.perf_counter() - start)

    @property
    def seconds(self):
        return median(self.times)


def compare(benchmark, ours, theirs, rounds):
    """Run both, `ours` through the benchmark, and note the ratio."""
    mine, other = Timed(ours), Timed(theirs)
    benchmark.pedantic(mine, rounds=rounds, iterations=1)
    for _ in range(rounds):
        other()
    benchmark.extra_info.update(float32_inverse=other.seconds, ratio=mine.seconds / other.seconds)
    return mine, other


def row(name, mine, other, errors):
    ratio = mine.seconds / other.seconds
    cells = [f"{mine.seconds:.3g}", f"{other.seconds:.3g}", f"{ratio:.2f}", *(f"{x:.0e}" for x in errors)]
    return f"| {name} | {' | '.join(cells)} |"


def error(layer, left, right, pairs):
    """The largest ‖Ŵk − v‖ / ‖v‖ of the unrounded Ŵ = W + left rightᵀ."""
    K, V = layer.K[:, pairs], layer.V[:, pairs]
    return largest(layer.W @ K + left @ (right.T @ K) - V, V)


def largest(gap, V):
    return float((np.linalg.norm(gap, axis=0) / np.linalg.norm(V, axis=0)).max())


def one_pair(layer, rows, benchmark, name, which, ours, theirs, rounds):
    mine, other = compare(benchmark, ours, theirs, rounds)
    update, (left, right) = mine.result, other.result
    found = error(layer, update.left, update.right, [which])
    released = error(layer, left[:, None], right[:, None], [which])
    rows.append(row(name, mine, other, (found, released)))
    assert found < 1e-9 < released
    return mine.seconds / other.seconds


@pytest.mark.slow
def test_first_insertion(benchmark, layer, rows):
    """Factorisation and insertion against inversion and insertion."""
    k, v = layer.K[:, 0], layer.V[:, 0]

    def released():
        return released_insert(layer.W, k, v, torch.inverse(torch.from_numpy(layer.C).float()))

    ratio = one_pair(
        layer, rows, benchmark, "first", 0, lambda: insert_key_value(layer.W, k, v, layer.C), released, 1
    )
    assert ratio < 2


@pytest.mark.slow
def test_repeated_insertion(benchmark, layer, held, rows):
    """With a factor, or an inverse, that is there already."""
    factor, inverse = held
    k, v = layer.K[:, 1], layer.V[:, 1]
    one_pair(
        layer,
        rows,
        benchmark,
        "repeated",
        1,
        lambda: insert_key_value(layer.W, k, v, factor),
        lambda: released_insert(layer.W, k, v, inverse),
        5,
    )


@pytest.mark.slow
def test_batch(benchmark, layer, held, rows):
    """Twenty pairs in one solve, all exact, against one after the other, where the first ones drift."""
    factor, inverse = held

    def in_turn():
        W = layer.W
        for k, v in zip(layer.K.T, layer.V.T, strict=True):
            left, right = released_insert(W, k, v, inverse)
            W = W + np.outer(left, right)
        return W

    mine, other = compare(benchmark, lambda: insert_key_values(layer.W, layer.K, layer.V, factor), in_turn, 1)
    found = error(layer, mine.result.left, mine.result.right, slice(None))
    released = largest(other.result @ layer.K - layer.V, layer.V)
    rows.append(row(f"batch of {PAIRS}", mine, other, (found, released)))
    assert found < 1e-9 < released
