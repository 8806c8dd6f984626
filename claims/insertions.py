"""Insertions of a key and value into a matrix: the one of the package, wrong ones, and feasible competitors."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from claims.problems import Matrix, Problem
from knowedit.linalg import insert_key_value

COMPETITORS = 4

Pair: TypeAlias = "tuple[Matrix, Matrix]"
"""(Λ, u) of an update Λuᵀ."""
Insertion = Callable[[Matrix, Matrix, Matrix, Matrix], Pair]
"""From W, k, v, C to the update."""


def product(W: Matrix, k: Matrix, v: Matrix, C: Matrix) -> Pair:
    """What the package computes."""
    update = insert_key_value(W, k, v, C)
    return update.left[:, 0], update.right[:, 0]


def wrong_sign(W: Matrix, k: Matrix, v: Matrix, C: Matrix) -> Pair:
    multiplier, direction = product(W, k, v, C)
    return -multiplier, direction


def not_inverted(W: Matrix, k: Matrix, v: Matrix, C: Matrix) -> Pair:
    return _towards(C @ k, W, k, v)


def identity(W: Matrix, k: Matrix, v: Matrix, C: Matrix) -> Pair:  # noqa: ARG001 - C is what it ignores
    return _towards(k, W, k, v)


def no_divisor(W: Matrix, k: Matrix, v: Matrix, C: Matrix) -> Pair:
    return v - W @ k, product(W, k, v, C)[1]


def _towards(direction: Matrix, W: Matrix, k: Matrix, v: Matrix) -> Pair:
    """Any direction meets Ŵk = v with the right divisor."""
    return (v - W @ k) / (k @ direction), direction


def inserted(problem: Problem, insert: Insertion) -> Matrix:
    """Ŵ."""
    return problem.W + np.outer(*insert(problem.W, problem.k, problem.v, problem.C))


def competitors(problem: Problem, W_hat: Matrix) -> list[Matrix]:
    """Feasible matrices: the best by another method, and random ones at the distance of W from Ŵ."""
    rng = np.random.default_rng(0)
    size = np.linalg.norm(W_hat - problem.W)
    across = np.eye(len(problem.k)) - np.outer(problem.k, problem.k) / (problem.k @ problem.k)
    drawn = [rng.standard_normal(W_hat.shape) @ across for _ in range(COMPETITORS)]
    return [best_feasible(problem), *(W_hat + size * step / np.linalg.norm(step) for step in drawn)]


def best_feasible(problem: Problem) -> Matrix:
    """The minimiser without any of the paper's algebra: v kᵀ/kᵀk plus a free part across k."""
    fixed = np.outer(problem.v, problem.k) / (problem.k @ problem.k)
    across = np.linalg.qr(np.column_stack([problem.k, np.eye(len(problem.k))]))[0][:, 1 : len(problem.k)]
    free = np.linalg.lstsq((across.T @ problem.K).T, (problem.V - fixed @ problem.K).T, rcond=None)[0]
    return np.asarray(fixed + free.T @ across.T)
