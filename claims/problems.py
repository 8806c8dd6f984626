"""Insertion problems for the algebraic claims: seeded random ones, and ones made of a model's own matrices."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from claims.models import OpenModel
from claims.settings import Settings

Matrix: TypeAlias = NDArray[np.float64]

SIZES = ((2, 2), (3, 8), (16, 64), (96, 24), (48, 192))
"""(d_out, d_in): as small as can be, wide, tall, and the shape of an MLP."""
CONDITIONS = (1e1, 1e4, 1e7)
"""Of C. Not 1: then C is its own inverse but for a factor, and an inversion left out cannot be seen."""
KEYS_PER_DIMENSION = 4
KEYS_OF_A_MODEL = 8


@dataclass(frozen=True, eq=False)
class Problem:
    """``Ŵk = v`` to be imposed on a memory of the pairs (K, V); all float64.

    Attributes:
        W: (d_out, d_in), the least-squares solution of WK = V.
        K: (d_in, n), the old keys.
        V: (d_out, n), their values, which W does not reproduce exactly if n is large.
        k: (d_in,), the new key.
        v: (d_out,), its value.
    """

    W: Matrix
    K: Matrix
    V: Matrix
    k: Matrix
    v: Matrix

    @property
    def C(self) -> Matrix:
        """K Kᵀ."""
        return np.asarray(self.K @ self.K.T)


def random_problems(settings: Settings) -> list[Problem]:
    """One problem for each size and condition number."""
    rng = np.random.default_rng(settings.seed)
    return [_random(rng, *size, condition) for size in SIZES for condition in CONDITIONS]


def _random(rng: np.random.Generator, d_out: int, d_in: int, condition: float) -> Problem:
    left = np.linalg.qr(rng.standard_normal((d_in, d_in)))[0]
    right = np.linalg.qr(rng.standard_normal((KEYS_PER_DIMENSION * d_in, d_in)))[0]
    spectrum = np.geomspace(1, condition**-0.5, d_in)
    K = left * spectrum @ right.T
    V = rng.standard_normal((d_out, K.shape[1]))
    W = V @ right / spectrum @ left.T
    return Problem(W, K, V, rng.standard_normal(d_in), rng.standard_normal(d_out))


def model_problems(model: OpenModel, settings: Settings) -> list[Problem]:
    """Problems with the W and C of the model's edited layer.

    The old pairs are what W does to keys K with K Kᵀ = C, so that nothing is assumed about W. New keys are
    drawn with the second moment C of the model's real ones, new values with the size of the old.
    """
    rng = np.random.default_rng(settings.seed)
    W = model.lm.projection(model.layer).weight.detach().double().cpu().numpy()
    K = np.asarray(np.linalg.cholesky(model.moment.matrix), dtype=np.float64)
    return list(_drawn(rng, W, K))


def _drawn(rng: np.random.Generator, W: Matrix, K: Matrix) -> Iterator[Problem]:
    for _ in range(KEYS_OF_A_MODEL):
        k = K @ rng.standard_normal(K.shape[1])
        v = rng.standard_normal(len(W)) * np.linalg.norm(W @ k) / len(W) ** 0.5
        yield Problem(W, K, W @ K, k, v)
