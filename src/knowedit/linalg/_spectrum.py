"""Eigenvalues: the condition number of a matrix, and the largest one of an operator from a few products."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy.linalg import eigvalsh, eigvalsh_tridiagonal

from knowedit.linalg._arrays import EPSILON, Host

_STEPS = 24
_SEED = 0
_INVARIANT = 1e-10  # below this a new direction would be made of rounding errors


def condition_number(C: Host, *, scaled: bool) -> float:
    """λ_max/λ_min of a symmetric matrix, infinite when λ_min is rounding, from all eigenvalues.

    Args:
        C: (d, d), symmetric positive semidefinite.
        scaled: bring the diagonal to ones first.
    """
    if scaled:
        roots = np.sqrt(np.where(C.diagonal() > 0, C.diagonal(), 1.0))
        C = C / roots / roots[:, None]
    eigenvalues = eigvalsh(C, check_finite=False)
    if eigenvalues[0] <= EPSILON["float64"] * eigenvalues[-1]:
        return math.inf
    return float(eigenvalues[-1] / eigenvalues[0])


def largest_eigenvalue(apply: Callable[[Host], Host], dim: int) -> float:
    """A lower bound of λ_max, usually right to a per cent, by Lanczos steps with a fixed start.

    Full reorthogonalisation keeps it honest; the error after p steps of a d-dimensional problem is at
    most a fraction 2.6 (ln d / p)² on average over starts (Kuczyński and Woźniakowski 1992).
    """
    q = np.random.default_rng(_SEED).standard_normal(dim)
    basis = np.empty((min(_STEPS, dim), dim))
    diagonal: list[float] = []
    off_diagonal: list[float] = []
    for step in range(len(basis)):
        basis[step] = q / np.linalg.norm(q)
        q = apply(basis[step])
        diagonal.append(float(basis[step] @ q))
        for _ in range(2):
            q = q - basis[: step + 1].T @ (basis[: step + 1] @ q)
        off_diagonal.append(float(np.linalg.norm(q)))
        if off_diagonal[-1] <= _INVARIANT * max(diagonal):
            break
    return float(eigvalsh_tridiagonal(diagonal, off_diagonal[: len(diagonal) - 1])[-1])
