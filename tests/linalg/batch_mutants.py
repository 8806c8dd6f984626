"""Broken implementations of many insertions at once, each wrong in one way."""

from __future__ import annotations

import numpy as np

from knowedit.linalg import LowRank

from .mutants import Dense


def _parts(W, N, T, C, ridge):
    U = np.linalg.solve(C, N)
    return U, T - W @ N, N.T @ U + ridge * np.eye(N.shape[1])


def _over(R, G):
    return np.linalg.solve(G.T, R.T).T


def textbook(W, N, T, C, ridge=0.0):
    """Not broken: the formula in plain float64."""
    U, R, G = _parts(W, N, T, C, ridge)
    return LowRank(_over(R, G), U, W.dtype)


def wrong_sign(W, N, T, C, ridge=0.0):
    update = textbook(W, N, T, C, ridge)
    return LowRank(-update.left, update.right, W.dtype)


def one_by_one(W, N, T, C, ridge=0.0):
    """Every pair on its own and the changes added: the off-diagonal of G forgotten."""
    U, R, G = _parts(W, N, T, C, ridge)
    return LowRank(R / G.diagonal(), U, W.dtype)


def euclidean(W, N, T, C, ridge=0.0):
    """C dropped: the pseudoinverse of the keys."""
    return textbook(W, N, T, np.eye(len(C)), ridge)


def values_instead_of_gaps(W, N, T, C, ridge=0.0):
    U, _, G = _parts(W, N, T, C, ridge)
    return LowRank(_over(T, G), U, W.dtype)


def always_damped(W, N, T, C, ridge=0.0):
    """A ridge of one where none was asked for."""
    return textbook(W, N, T, C, ridge or 1.0)


def damped_moment(W, N, T, C, ridge=0.0):
    """Feasible, with a C that has an absolute number on its diagonal."""
    return textbook(W, N, T, C + 0.1 * np.eye(len(C)), ridge)


def ridge_ignored(W, N, T, C, ridge=0.0):
    U, R, G = _parts(W, N, T, C, 0.0)
    return LowRank(R @ np.linalg.pinv(G), U, W.dtype)


def ridge_squared(W, N, T, C, ridge=0.0):
    return textbook(W, N, T, C, ridge**2)


def ridge_inverted(W, N, T, C, ridge=0.0):
    """The weight put on the other term."""
    return textbook(W, N, T, C, 1 / ridge if ridge else 0.0)


def pseudoinverse(W, N, T, C, ridge=0.0):
    """G⁻¹ by a pseudoinverse that drops what is small: short keys are lost."""
    U, R, G = _parts(W, N, T, C, ridge)
    return LowRank(R @ np.linalg.pinv(G, rcond=1e-12), U, W.dtype)


def full_rank(W, N, T, C, ridge=0.0):
    """Feasible, but with a change of other directions added."""
    update = textbook(W, N, T, C, ridge)
    extra = 1e-3 * np.sin(np.arange(W.size, dtype=np.float64)).reshape(W.shape)
    Q = np.linalg.qr(N)[0]
    return Dense(update.materialise() + extra - extra @ Q @ Q.T, update.left, update.right)


def first_pair_twice(W, N, T, C, ridge=0.0):
    """The value of the first pair given to all."""
    return textbook(W, N, T[:, [0] * T.shape[1]], C, ridge)


def writes_into_weight(W, N, T, C, ridge=0.0):
    update = textbook(W, N, T, C, ridge)
    W += update.materialise()
    return update


def orthonormal_right(W, N, T, C, ridge=0.0):
    """The right Ŵ in other factors."""
    update = textbook(W, N, T, C, ridge)
    Q, R = np.linalg.qr(update.right)
    return LowRank(update.left @ R.T, Q, W.dtype)


def nonlinear(W, N, T, C, ridge=0.0):
    """Gaps clipped, as a trust region would."""
    U, R, G = _parts(W, N, T, C, ridge)
    return LowRank(_over(np.clip(R, -1, 1), G), U, W.dtype)


BATCH_MUTANTS = {
    "wrong_sign": (wrong_sign, "many_feasible many_block_system ridge_is_memit"),
    "one_by_one": (
        one_by_one,
        "many_feasible many_block_system many_price many_recombined many_in_turn ridge_stationary",
    ),
    "euclidean": (
        euclidean,
        "many_multiplier many_block_system many_optimal many_least_change many_price many_in_turn many_apart "
        "ridge_is_memit",
    ),
    "values_instead_of_gaps": (values_instead_of_gaps, "many_feasible many_idempotent many_in_turn"),
    "always_damped": (always_damped, "many_feasible many_scale_free many_lengths ridge_vanishing"),
    "damped_moment": (
        damped_moment,
        "many_optimal many_least_change many_scale_free many_multiplier ridge_units",
    ),
    "ridge_ignored": (ridge_ignored, "ridge_stationary ridge_is_memit"),
    "ridge_squared": (ridge_squared, "ridge_stationary ridge_units"),
    "ridge_inverted": (ridge_inverted, "ridge_stationary ridge_vanishing ridge_units ridge_repeated"),
    "pseudoinverse": (pseudoinverse, "many_lengths"),
    "full_rank": (full_rank, "many_rank many_multiplier many_optimal many_least_change many_turned"),
    "first_pair_twice": (first_pair_twice, "many_feasible many_recombined many_lengths"),
    "writes_into_weight": (writes_into_weight, "many_arguments_untouched many_feasible"),
    "orthonormal_right": (orthonormal_right, "many_multiplier many_block_system many_accurate"),
    "nonlinear": (nonlinear, "many_values_turned many_feasible"),
    "textbook": (textbook, "many_accurate"),
}
"""Mutant, and the laws that have to notice it (others may as well)."""
