"""The laws of knowedit.linalg as plain functions, so that they can be tried on broken code as well.

Every law takes the implementation as its first argument and raises AssertionError when it does not hold.
They use nothing of the package but what they are given: plain float64 NumPy is the oracle.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]
Insert = Callable[[Any, Any, Any, Any], Any]

TOLERANCE = 1e-8


@dataclass(frozen=True)
class Problem:
    """Old pairs (K, V), a weight W, a new pair (k, v), and a direction Z to compete in."""

    W: Matrix  # (d_out, d_in)
    k: Matrix  # (d_in,)
    v: Matrix  # (d_out,)
    K: Matrix  # (d_in, n)
    V: Matrix  # (d_out, n)
    Z: Matrix  # (d_out, d_in)

    @property
    def C(self) -> Matrix:
        return self.K @ self.K.T

    @property
    def least_squares(self) -> Matrix:
        return np.linalg.lstsq(self.K.T, self.V.T, rcond=None)[0].T


def make_problem(seed: int, d_out: int = 3, d_in: int = 5, extra: int = 4) -> Problem:
    """Random, with keys of unequal size and correlation, and n = d_in + extra samples."""
    random = np.random.default_rng(seed)
    turn = np.linalg.qr(random.standard_normal((d_in, d_in)))[0]
    mix = np.exp2(random.uniform(-1, 1, (d_in, 1))) * turn * np.exp2(random.uniform(-1, 1, d_in))
    n = d_in + extra
    return Problem(
        W=random.standard_normal((d_out, d_in)),
        k=random.standard_normal(d_in),
        v=3 * random.standard_normal(d_out),
        K=mix @ random.standard_normal((d_in, n)),
        V=random.standard_normal((d_out, n)),
        Z=random.standard_normal((d_out, d_in)),
    )


def close(found: Any, expected: Any, scale: float = 0.0) -> bool:
    """Whether two arrays agree to TOLERANCE of their size (or of `scale`, where terms cancel)."""
    size = max(float(np.linalg.norm(expected)), scale)
    return float(np.linalg.norm(np.asarray(found) - np.asarray(expected))) <= TOLERANCE * size


def cost(X: Matrix, K: Matrix, V: Matrix) -> float:
    return float(np.linalg.norm(X @ K - V) ** 2)


def inserted(insert: Insert, W: Matrix, p: Problem) -> Matrix:
    return W + insert(W, p.k, p.v, p.C).materialise()


def competitor(W_hat: Matrix, p: Problem) -> Matrix:
    """Another matrix with the same value at k: Ŵ + Z (I − kkᵀ/kᵀk)."""
    return W_hat + p.Z - np.outer(p.Z @ p.k, p.k) / (p.k @ p.k)


def law_feasible(insert: Insert, p: Problem) -> None:
    """Eqn. 13: Ŵk = v."""
    assert close(inserted(insert, p.W, p) @ p.k, p.v, np.linalg.norm(p.W @ p.k))


def law_stationary(insert: Insert, p: Problem) -> None:
    """Eqn. 17: for a least-squares W, ŴC − VKᵀ = Λkᵀ for some Λ, so its part orthogonal to k vanishes."""
    W_hat = inserted(insert, p.least_squares, p)
    gradient = W_hat @ p.C - p.V @ p.K.T
    left_over = gradient - np.outer(gradient @ p.k, p.k) / (p.k @ p.k)
    assert np.linalg.norm(left_over) <= TOLERANCE * np.linalg.norm(gradient)


def law_multiplier(insert: Insert, p: Problem) -> None:
    """Eqn. 17: the Λ of ŴC − VKᵀ = Λkᵀ is the left factor of the update, the right one is C⁻¹k."""
    W = p.least_squares
    update = insert(W, p.k, p.v, p.C)
    gradient = (W + update.materialise()) @ p.C - p.V @ p.K.T
    assert close(gradient, update.left @ p.k[None, :], np.linalg.norm(p.V @ p.K.T))
    assert close(p.C @ update.right[:, 0], p.k)


def law_block_system(insert: Insert, p: Problem) -> None:
    """Eqn. 21-22: [Ŵ Λ] [[C, k], [−kᵀ, 0]] = [VKᵀ v], solved as it stands, gives the same Ŵ and Λ."""
    W = p.least_squares
    update = insert(W, p.k, p.v, p.C)
    block = np.block([[p.C, p.k[:, None]], [-p.k[None, :], np.zeros((1, 1))]])
    solution = np.linalg.solve(block.T, np.hstack([p.V @ p.K.T, p.v[:, None]]).T).T
    assert close(W + update.materialise(), solution[:, :-1])
    assert close(update.left, solution[:, -1:])


def law_optimal(insert: Insert, p: Problem) -> None:
    """Eqn. 4: for a least-squares W every feasible Y costs exactly ‖(Y−Ŵ)K‖² more than Ŵ."""
    W_hat = inserted(insert, p.least_squares, p)
    Y = competitor(W_hat, p)
    excess = cost(Y, p.K, p.V) - cost(W_hat, p.K, p.V)
    assert excess >= -TOLERANCE * cost(Y, p.K, p.V), "a feasible competitor is cheaper"
    assert close(excess, cost(Y - W_hat, p.K, 0 * p.V), cost(Y, p.K, p.V))


def law_least_change(insert: Insert, p: Problem) -> None:
    """For any W at all, every feasible Y changes the old values by exactly ‖(Y−Ŵ)K‖² more than Ŵ does."""
    W_hat = inserted(insert, p.W, p)
    Y = competitor(W_hat, p)
    old = p.W @ p.K
    excess = cost(Y, p.K, old) - cost(W_hat, p.K, old)
    assert excess >= -TOLERANCE * cost(Y, p.K, old), "a feasible competitor changes less"
    assert close(excess, cost(Y - W_hat, p.K, 0 * old), cost(Y, p.K, old))


def law_price(insert: Insert, p: Problem) -> None:
    """The insertion costs ‖v−Wk‖² / (kᵀC⁻¹k) on the old pairs of a least-squares W."""
    W = p.least_squares
    price = np.linalg.norm(p.v - W @ p.k) ** 2 / (p.k @ np.linalg.solve(p.C, p.k))
    assert close(cost(inserted(insert, W, p), p.K, p.V) - cost(W, p.K, p.V), price, cost(W, p.K, p.V))


def law_rank_one(insert: Insert, p: Problem) -> None:
    """Eqn. 5: the materialised change has one singular value above rounding."""
    singular = np.linalg.svd(insert(p.W, p.k, p.v, p.C).materialise(), compute_uv=False)
    assert singular[0] > 0
    assert (singular[1:] <= TOLERANCE * singular[0]).all()


def law_scale_free(insert: Insert, p: Problem) -> None:
    """C and cC, c > 0, give the same Ŵ: a sum and a mean of k kᵀ are the same to an insertion."""
    expected = inserted(insert, p.W, p)
    for c in (1e-9, 0.3, 7.0, 1e9):
        assert close(p.W + insert(p.W, p.k, p.v, c * p.C).materialise(), expected)


def law_second_insertion(insert: Insert, p: Problem) -> None:
    """A second pair (k₂, v₂) moves the first key's value by (k₂ᵀC⁻¹k₁ / k₂ᵀC⁻¹k₂) (v₂ − W₁k₂)."""
    k2, v2 = p.K[:, 0], p.Z[:, 0]
    first = inserted(insert, p.W, p)
    second = first + insert(first, k2, v2, p.C).materialise()
    u2 = np.linalg.solve(p.C, k2)
    expected = (u2 @ p.k) / (u2 @ k2) * (v2 - first @ k2)
    assert close(second @ p.k - p.v, expected, np.linalg.norm(p.v) + np.linalg.norm(second @ p.k))


def law_idempotent(insert: Insert, p: Problem) -> None:
    """Inserting what W already returns changes nothing."""
    change = insert(p.W, p.k, p.W @ p.k, p.C).materialise()
    assert np.linalg.norm(change) <= TOLERANCE * np.linalg.norm(p.W)


def law_arguments_untouched(insert: Insert, p: Problem) -> None:
    """No argument is written to, bit for bit."""
    arguments = [p.W.copy(), p.k.copy(), p.v.copy(), p.C]
    before = [a.copy() for a in arguments]
    insert(*arguments)
    assert all(np.array_equal(a, b) for a, b in zip(arguments, before, strict=True))


def law_dtype_kept(insert: Insert, p: Problem) -> None:
    """The materialised change has the dtype of W, whatever the others have."""
    for dtype in (np.float16, np.float32, np.float64):
        assert insert(p.W.astype(dtype), p.k, p.v, p.C).materialise().dtype == dtype


def law_solves_accurately(insert: Insert, p: Problem) -> None:
    """With κ(C) = 1e9, C⁻¹k agrees with 60-digit arithmetic to rounding; a plain float64 solve does not."""
    C = ill_conditioned(len(p.k), 9, seed=int(1e6 * abs(p.k[0])))
    right = insert(p.W, p.k, p.v, C).right[:, 0]
    exact = exact_solution(C, p.k)
    assert np.linalg.norm(right - exact) <= 1e-15 * np.linalg.norm(exact)


def ill_conditioned(dim: int, digits: float, seed: int = 0) -> Matrix:
    """A symmetric positive definite matrix of condition 10**digits with random eigenvectors."""
    Q = np.linalg.qr(np.random.default_rng(seed).standard_normal((dim, dim)))[0]
    C = (Q * np.logspace(0, -digits, dim)) @ Q.T
    return (C + C.T) / 2


def exact_solution(C: Matrix, b: Matrix) -> Matrix:
    """C⁻¹b with 60 decimal digits, rounded once to float64."""
    import mpmath

    with mpmath.workdps(60):
        return np.array(
            [float(x) for x in mpmath.lu_solve(mpmath.matrix(C.tolist()), mpmath.matrix(b.tolist()))]
        )


INSERT_LAWS: tuple[Callable[[Insert, Problem], None], ...] = (
    law_feasible,
    law_stationary,
    law_multiplier,
    law_block_system,
    law_optimal,
    law_least_change,
    law_price,
    law_rank_one,
    law_scale_free,
    law_second_insertion,
    law_idempotent,
    law_arguments_untouched,
    law_dtype_kept,
    law_solves_accurately,
)


def law_mean_of_outer_products(moment: Any, batches: Sequence[Matrix]) -> None:
    """Streaming any batches gives count = n and matrix = (1/n) Σ k kᵀ, as a plain loop over keys does."""
    for batch in batches:
        moment = moment.update(batch)
    keys = np.concatenate(list(batches))
    expected = sum(np.outer(key, key) for key in keys) / len(keys)
    assert moment.count == len(keys)
    assert np.linalg.norm(moment.matrix - expected) <= 1e-13 * np.linalg.norm(expected)


def law_merge_commutes(moment: Any, batches: Sequence[Matrix]) -> None:
    """a + b and b + a are equal bit for bit, count included."""
    a, b = moment.update(batches[0]), moment.update(batches[-1]).update(batches[0])
    assert np.array_equal((a + b).raw_sum, (b + a).raw_sum)
    assert (a + b).count == (b + a).count == a.count + b.count


def law_merge_in_any_order(moment: Any, batches: Sequence[Matrix]) -> None:
    """Merging the batches' moments, from the left, the right or as a tree, equals one big update."""
    parts = [moment.update(batch) for batch in batches]
    left, right = moment, moment
    for part in parts:
        left, right = left.merge(part), part.merge(right)
    while len(parts) > 1:
        parts = [parts[0] + parts[-1], *parts[1:-1]]
    whole = moment.update(np.concatenate(list(batches)))
    for found in (left, right, parts[0]):
        assert found.count == whole.count
        assert np.linalg.norm(found.matrix - whole.matrix) <= 1e-13 * np.linalg.norm(whole.matrix)


def law_update_is_a_value(moment: Any, batches: Sequence[Matrix]) -> None:
    """Neither update nor merge changes a moment that exists."""
    first = moment.update(batches[0])
    before = first.raw_sum.copy()
    first.update(batches[-1])
    first.merge(first)
    assert first.count == len(batches[0])
    assert np.array_equal(first.raw_sum, before)


def law_damping(moment: Any, batches: Sequence[Matrix]) -> None:
    """damped(λ) adds λ tr C / d to the diagonal, keeps the count, and bounds the condition by 1 + d / λ.

    It has no unit: keys in other units, damped, are the damped keys in other units.
    """
    moment = _streamed(moment, batches)
    C, dim = moment.matrix, len(moment.matrix)
    for lam in (1e-6, 0.1, 10.0):
        damped = moment.damped(lam)
        expected = C + lam * np.trace(C) / dim * np.eye(dim)
        assert np.linalg.norm(damped.matrix - expected) <= 1e-13 * np.linalg.norm(expected)
        assert damped.count == moment.count
        assert np.linalg.cond(damped.matrix) <= (1 + dim / lam) * (1 + 1e-6)


def law_damping_trades(moment: Any, batches: Sequence[Matrix]) -> None:
    """An insertion with damped(λ) is feasible and minimises ‖(Ŵ−W)K‖² + count λ (tr C/d) ‖Ŵ−W‖².

    By the multiplier's side: the gradient of that objective is a multiple of kᵀ, and the damped Ŵ moves
    the weight less and the old values more than the undamped one.
    """
    moment = _streamed(moment, batches)
    K, dim = np.concatenate(list(batches)).T, len(moment.matrix)
    k, gap, lam = 1.0 + np.arange(dim), np.array([1.0, -2.0]), 0.1
    damped = moment.damped(lam)
    u = np.linalg.solve(damped.matrix, k)
    change = np.outer(gap, u) / (k @ u)
    ridge = moment.count * lam * np.trace(K @ K.T) / (moment.count * dim)
    gradient = change @ K @ K.T + ridge * change
    across = gradient - np.outer(gradient @ k, k) / (k @ k)
    assert np.linalg.norm(across) <= TOLERANCE * np.linalg.norm(gradient)
    plain = np.linalg.lstsq(moment.matrix, k, rcond=None)[0]
    undamped = np.outer(gap, plain) / (k @ plain)
    if np.linalg.cond(moment.matrix) < 1e6:
        assert np.linalg.norm(change) <= np.linalg.norm(undamped) * (1 + TOLERANCE)
        assert np.linalg.norm(change @ K) >= np.linalg.norm(undamped @ K) * (1 - TOLERANCE)


def _streamed(moment: Any, batches: Sequence[Matrix]) -> Any:
    for batch in batches:
        moment = moment.update(batch)
    return moment


MOMENT_LAWS: tuple[Callable[[Any, Sequence[Matrix]], None], ...] = (
    law_mean_of_outer_products,
    law_merge_commutes,
    law_merge_in_any_order,
    law_update_is_a_value,
    law_damping,
    law_damping_trades,
)
