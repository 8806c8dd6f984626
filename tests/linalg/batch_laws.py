"""The laws of many insertions at once, as plain functions that can be tried on broken code as well.

Every law takes `insert(W, K_new, V_new, C, ridge=0.0)` and a problem. Plain float64 NumPy is the oracle.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .laws import TOLERANCE, Matrix, Problem, close, cost, exact_solution, ill_conditioned, make_problem

InsertMany = Callable[..., Any]


@dataclass(frozen=True)
class Batch:
    """A problem, new pairs (N, T) as columns, and what the laws need besides."""

    p: Problem
    N: Matrix  # (d_in, e)
    T: Matrix  # (d_out, e)
    turn: Matrix  # (d_in, d_in), orthogonal
    mix: Matrix  # (e, e), invertible

    @property
    def gram(self) -> Matrix:
        return self.N.T @ np.linalg.solve(self.p.C, self.N)


def make_batch(seed: int, d_out: int = 3, d_in: int = 5, pairs: int = 2) -> Batch:
    """Random keys (e ≤ d_in of them) that are correlated but not nearly dependent."""
    p = make_problem(seed, d_out, d_in)
    random = np.random.default_rng([seed, 1])
    pairs = min(pairs, d_in)
    turn = np.linalg.qr(random.standard_normal((d_in, d_in)))[0]
    skew = np.eye(pairs) + 0.3 * np.tril(random.uniform(-1, 1, (pairs, pairs)), -1)
    return Batch(
        p=p,
        N=2 * turn[:, :pairs] @ skew,
        T=3 * random.standard_normal((d_out, pairs)),
        turn=np.linalg.qr(random.standard_normal((d_in, d_in)))[0],
        mix=skew.T + 0.2 * random.uniform(-1, 1, (pairs, pairs)) / pairs,
    )


def inserted(insert: InsertMany, W: Matrix, b: Batch, ridge: float = 0.0) -> Matrix:
    return W + insert(W, b.N, b.T, b.p.C, ridge=ridge).materialise()


def competitor(W_hat: Matrix, b: Batch) -> Matrix:
    """Another matrix with the same values at all new keys."""
    Q = np.linalg.qr(b.N)[0]
    return W_hat + b.p.Z - b.p.Z @ Q @ Q.T


def law_many_feasible(insert: InsertMany, b: Batch) -> None:
    """Eqn. 13 for every pair: ŴN = T."""
    found = inserted(insert, b.p.W, b) @ b.N
    assert close(found, b.T, np.linalg.norm(b.p.W @ b.N))


def law_many_multiplier(insert: InsertMany, b: Batch) -> None:
    """Eqn. 17: for a least-squares W, ŴC − VKᵀ = ΛNᵀ with the left factor Λ; the right one is C⁻¹N."""
    W = b.p.least_squares
    update = insert(W, b.N, b.T, b.p.C)
    cross = b.p.V @ b.p.K.T
    gradient = (W + update.materialise()) @ b.p.C - cross
    assert close(gradient, update.left @ b.N.T, np.linalg.norm(cross))
    assert close(b.p.C @ update.right, b.N)


def law_many_block_system(insert: InsertMany, b: Batch) -> None:
    """Eqn. 21-22: [Ŵ Λ] [[C, N], [−Nᵀ, 0]] = [VKᵀ T], solved as it stands, gives the same Ŵ and Λ."""
    p, W, e = b.p, b.p.least_squares, b.N.shape[1]
    update = insert(W, b.N, b.T, p.C)
    block = np.block([[p.C, b.N], [-b.N.T, np.zeros((e, e))]])
    solution = np.linalg.solve(block.T, np.hstack([p.V @ p.K.T, b.T]).T).T
    assert close(W + update.materialise(), solution[:, :-e])
    assert close(update.left, solution[:, -e:])


def law_many_optimal(insert: InsertMany, b: Batch) -> None:
    """Eqn. 4: for a least-squares W every feasible Y costs exactly ‖(Y−Ŵ)K‖² more than Ŵ."""
    W_hat = inserted(insert, b.p.least_squares, b)
    _costs_more(W_hat, competitor(W_hat, b), b.p.K, b.p.V)


def law_many_least_change(insert: InsertMany, b: Batch) -> None:
    """For any W at all, every feasible Y changes the old values by exactly ‖(Y−Ŵ)K‖² more than Ŵ does."""
    W_hat = inserted(insert, b.p.W, b)
    _costs_more(W_hat, competitor(W_hat, b), b.p.K, b.p.W @ b.p.K)


def _costs_more(W_hat: Matrix, Y: Matrix, K: Matrix, V: Matrix) -> None:
    excess = cost(Y, K, V) - cost(W_hat, K, V)
    assert close(excess, cost(Y - W_hat, K, 0 * V), cost(Y, K, V))


def law_many_price(insert: InsertMany, b: Batch) -> None:
    """The insertion costs tr(R G⁻¹ Rᵀ), R = T − WN, on the old pairs of a least-squares W."""
    W = b.p.least_squares
    R = b.T - W @ b.N
    price = np.trace(R @ np.linalg.solve(b.gram, R.T))
    before = cost(W, b.p.K, b.p.V)
    assert close(cost(inserted(insert, W, b), b.p.K, b.p.V) - before, price, before)


def law_many_rank(insert: InsertMany, b: Batch) -> None:
    """The change has at most e singular values above rounding."""
    update = insert(b.p.W, b.N, b.T, b.p.C)
    singular = np.linalg.svd(update.materialise(), compute_uv=False)
    assert singular[0] > 0
    assert (singular[b.N.shape[1] :] <= TOLERANCE * singular[0]).all()


def law_many_scale_free(insert: InsertMany, b: Batch) -> None:
    """C and cC give the same Ŵ."""
    expected = inserted(insert, b.p.W, b)
    for c in (1e-9, 0.3, 1e9):
        assert close(b.p.W + insert(b.p.W, b.N, b.T, c * b.p.C).materialise(), expected)


def law_many_recombined(insert: InsertMany, b: Batch) -> None:
    """NA and TA with an invertible A ask for the same and give the same Ŵ; so does any order of pairs."""
    expected = inserted(insert, b.p.W, b)
    for A in (b.mix, np.eye(b.N.shape[1])[::-1]):
        assert close(inserted(insert, b.p.W, replace(b, N=b.N @ A, T=b.T @ A)), expected)


def law_many_lengths(insert: InsertMany, b: Batch) -> None:
    """Keys of length 1e-6 to 1e6 in one batch: every value is right to rounding, and Ŵ is the same.

    With values of ordinary size for all of them, Ŵ is large, and ŴN is right to the rounding of Ŵ and N.
    """
    lengths = np.logspace(-6, 6, b.N.shape[1])
    W_hat = inserted(insert, b.p.W, replace(b, N=b.N * lengths, T=b.T * lengths))
    assert close(W_hat, inserted(insert, b.p.W, b))
    gaps = np.linalg.norm(W_hat @ b.N - b.T, axis=0)
    assert (gaps <= TOLERANCE * (np.linalg.norm(b.T, axis=0) + np.linalg.norm(W_hat @ b.N, axis=0))).all()
    W_hat = inserted(insert, b.p.W, replace(b, N=b.N * lengths))
    gaps = np.linalg.norm(W_hat @ (b.N * lengths) - b.T, axis=0)
    sizes = np.linalg.norm(W_hat) * np.linalg.norm(b.N * lengths, axis=0) + np.linalg.norm(b.T, axis=0)
    assert (gaps <= 1e-12 * sizes).all()


def law_many_turned(insert: InsertMany, b: Batch) -> None:
    """In another orthonormal basis of keys, W → WQᵀ, N → QN, C → QCQᵀ, it gives ŴQᵀ."""
    Q = b.turn
    expected = inserted(insert, b.p.W, b) @ Q.T
    turned = insert(b.p.W @ Q.T, Q @ b.N, b.T, Q @ b.p.C @ Q.T)
    assert close(b.p.W @ Q.T + turned.materialise(), expected)


def law_many_values_turned(insert: InsertMany, b: Batch) -> None:
    """Linear in the outputs: AW and AT give AŴ, for any A."""
    A = b.p.Z @ b.p.Z.T
    found = A @ b.p.W + insert(A @ b.p.W, b.N, A @ b.T, b.p.C).materialise()
    assert close(found, A @ inserted(insert, b.p.W, b))


def law_many_in_turn(insert: InsertMany, b: Batch) -> None:
    """The first pairs, then the last one: off the joint insertion by what the drift of the first explains.

    The last insertion moves the first values by D = (v − W₁k) (kᵀC⁻¹N₁) / (kᵀC⁻¹k). The joint insertion is
    the one in turn minus the insertion of D: they are equal exactly when D vanishes.
    """
    W, C, G = b.p.W, b.p.C, b.gram
    joint, in_turn, drift = _in_turn(insert, W, b)
    put_back = np.hstack([-drift, np.zeros((len(W), 1))])
    expected = put_back @ np.linalg.solve(G, np.linalg.solve(C, b.N).T)
    assert close(in_turn @ b.N[:, :-1] - b.T[:, :-1], drift, np.linalg.norm(b.T) + np.linalg.norm(drift))
    assert close(joint - in_turn, expected, np.linalg.norm(joint) + np.linalg.norm(in_turn))


def law_many_apart(insert: InsertMany, b: Batch) -> None:
    """C-orthogonal keys, or a last value that is there already: in turn and joint are equal."""
    W, C = b.p.W, b.p.C
    U = np.linalg.cholesky(C)
    orthogonal = replace(b, N=U @ np.linalg.qr(np.linalg.solve(U, b.N))[0])
    first = W + insert(W, b.N[:, :-1], b.T[:, :-1], C).materialise() if b.N.shape[1] > 1 else W
    there = replace(b, T=np.hstack([b.T[:, :-1], first @ b.N[:, -1:]]))
    for special in (orthogonal, there):
        joint, in_turn, drift = _in_turn(insert, W, special)
        assert np.linalg.norm(drift) <= TOLERANCE * np.linalg.norm(special.T)
        assert close(joint, in_turn)


def _in_turn(insert: InsertMany, W: Matrix, b: Batch) -> tuple[Matrix, Matrix, Matrix]:
    """The joint Ŵ, the Ŵ of all pairs but the last and then the last, and the drift it should have."""
    joint, first, last = inserted(insert, W, b), W, b.N[:, -1:]
    if b.N.shape[1] > 1:
        first = W + insert(W, b.N[:, :-1], b.T[:, :-1], b.p.C).materialise()
    second = first + insert(first, last, b.T[:, -1:], b.p.C).materialise()
    return joint, second, (b.T[:, -1:] - first @ last) @ b.gram[-1:, :-1] / b.gram[-1, -1]


def law_many_idempotent(insert: InsertMany, b: Batch) -> None:
    """Inserting what W already returns changes nothing."""
    change = insert(b.p.W, b.N, b.p.W @ b.N, b.p.C).materialise()
    assert np.linalg.norm(change) <= TOLERANCE * np.linalg.norm(b.p.W)


def law_many_arguments_untouched(insert: InsertMany, b: Batch) -> None:
    """No argument is written to, bit for bit."""
    arguments = [b.p.W.copy(), b.N.copy(), b.T.copy(), b.p.C]
    before = [a.copy() for a in arguments]
    insert(*arguments)
    insert(*arguments, ridge=0.1)
    assert all(np.array_equal(x, y) for x, y in zip(arguments, before, strict=True))


def law_many_accurate(insert: InsertMany, b: Batch) -> None:
    """With κ(C) = 1e11: C⁻¹N is right to rounding, and Λ to √κ times that, against 60-digit arithmetic."""
    C = ill_conditioned(len(b.p.k), 11, seed=int(1e6 * abs(b.p.k[0])))
    N = np.linalg.cholesky(C) @ b.N
    update = insert(b.p.W, N, b.T, C)
    U = np.stack([exact_solution(C, key) for key in N.T], axis=1)
    assert np.linalg.norm(update.right - U) <= 1e-15 * np.linalg.norm(U)
    multipliers = np.linalg.solve((N.T @ U).T, (b.T - b.p.W @ N).T).T
    assert np.linalg.norm(update.left - multipliers) <= 1e-9 * np.linalg.norm(multipliers)


def law_ridge_stationary(insert: InsertMany, b: Batch) -> None:
    """The gradient of ridge ‖(Ŵ−W)K‖² + ‖ŴN − T‖² vanishes: (Ŵ−W) ridge C + (ŴN − T)Nᵀ = 0."""
    for ridge in (1e-3, 1.0, 30.0):
        W_hat = inserted(insert, b.p.W, b, ridge)
        pull, push = ridge * (W_hat - b.p.W) @ b.p.C, (W_hat @ b.N - b.T) @ b.N.T
        assert close(pull, -push)


def law_ridge_is_memit(insert: InsertMany, b: Batch) -> None:
    """It is R Nᵀ (ridge C + N Nᵀ)⁻¹, R = T − WN, solved as it stands."""
    for ridge in (1e-3, 1.0, 30.0):
        R = b.T - b.p.W @ b.N
        expected = np.linalg.solve(ridge * b.p.C + b.N @ b.N.T, b.N @ R.T).T
        assert close(inserted(insert, b.p.W, b, ridge) - b.p.W, expected)


def law_ridge_vanishing(insert: InsertMany, b: Batch) -> None:
    """As ridge goes to 0, Ŵ goes to the constrained one, in proportion to ridge."""
    exact = inserted(insert, b.p.W, b)
    smallest = np.linalg.eigvalsh(b.gram)[0]
    for ridge in (1e-6 * smallest, 1e-10 * smallest):
        off = np.linalg.norm(inserted(insert, b.p.W, b, ridge) - exact)
        assert off <= 10 * ridge / smallest * (np.linalg.norm(exact) + np.linalg.norm(b.T)) * 10


def law_ridge_units(insert: InsertMany, b: Batch) -> None:
    """C and ridge matter by their product alone."""
    expected = inserted(insert, b.p.W, b, 0.7)
    assert close(b.p.W + insert(b.p.W, b.N, b.T, 1e6 * b.p.C, ridge=0.7e-6).materialise(), expected)


def law_ridge_repeated(insert: InsertMany, b: Batch) -> None:
    """A key given twice with two values counts as its mean value with half the ridge."""
    other = b.T + b.p.Z[:, :1]
    twice = replace(b, N=np.hstack([b.N, b.N]), T=np.hstack([b.T, other]))
    mean = replace(b, T=(b.T + other) / 2)
    assert close(inserted(insert, b.p.W, twice, 0.5), inserted(insert, b.p.W, mean, 0.25))


BATCH_LAWS: tuple[Callable[[InsertMany, Batch], None], ...] = (
    law_many_feasible,
    law_many_multiplier,
    law_many_block_system,
    law_many_optimal,
    law_many_least_change,
    law_many_price,
    law_many_rank,
    law_many_scale_free,
    law_many_recombined,
    law_many_lengths,
    law_many_turned,
    law_many_values_turned,
    law_many_in_turn,
    law_many_apart,
    law_many_idempotent,
    law_many_arguments_untouched,
    law_many_accurate,
    law_ridge_stationary,
    law_ridge_is_memit,
    law_ridge_vanishing,
    law_ridge_units,
    law_ridge_repeated,
)
