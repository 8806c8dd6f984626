"""The Cholesky factor of a second moment: made once, held by the caller, used for many insertions."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.linalg import cho_solve, eigvalsh, solve_triangular
from scipy.linalg.lapack import dpotrf
from scipy.sparse.linalg import LinearOperator, eigsh

from knowedit.errors import NumericalError, ShapeError, SingularError
from knowedit.linalg._arrays import (
    EPSILON,
    Array,
    Host,
    epsilon,
    from_host,
    require_arrays,
    require_shape,
    to_host,
)
from knowedit.linalg._residual import residual

RANK_TOLERANCE: Final = 1000 * EPSILON["float64"]
"""Eigenvalues below this share of the largest one, after scaling, count as zero (2.2e-13).

It lies between what must be accepted (a condition number of 1e11) and what rounding leaves of a true
zero: √d ε from a factorisation, √batches ε from a streaming sum, each below 170 ε for d or batches to
28,000.
"""

_REFINEMENTS = 4
_FORESEEN = EPSILON["float64"] / 8
_BLOCK = 256
_SMALL = 24
_TOLERANCE = 0.01


@dataclass(frozen=True, eq=False)
class FactorisedMoment:
    """`C = D S D` with `S = L Lᵀ`, ready for solves; build it with `from_matrix` or `SecondMoment.factorise`.

    Attributes:
        scale: (d_in,), the diagonal of D: powers of two that bring the diagonal of S into [0.5, 2].
        scaled: (d_in, d_in), S, kept so that a solve can be refined against it.
        cholesky: (d_in, d_in), L in its lower triangle; the rest is not meant to be read.
        condition_estimate: the condition number of S in the 2-norm, from below, right to about a per cent
            (the two eigenvalues by ARPACK).

    All arrays are float64 NumPy on the host, and must not be changed.
    """

    scale: Host
    scaled: Host
    cholesky: Host
    condition_estimate: float

    def __repr__(self) -> str:
        return f"FactorisedMoment({self.dim} × {self.dim}, condition {self.condition_estimate:.1e})"

    @classmethod
    def from_matrix(cls, C: Array, *, resolution: float | None = None) -> FactorisedMoment:
        """Factorise `C`.

        Args:
            C: (d_in, d_in), symmetric positive definite, any floating dtype, library and device.
            resolution: relative rounding error of the entries, when it is coarser than the dtype's.

        Raises:
            ShapeError: C is not square or not floating point.
            NumericalError: C holds NaN or infinity, is not symmetric, or has a negative eigenvalue.
            SingularError: C is not of full rank; the message gives the rank.
        """
        require_arrays(C=C)
        require_shape("C", C, ("d_in", "d_in"))
        if C.shape[0] != C.shape[1] or not C.shape[0]:
            raise ShapeError(
                f"C has shape {tuple(C.shape)}; expected a square matrix (d_in, d_in); pass C = K Kᵀ, not K"
            )
        coarsest = max(epsilon(C.dtype), resolution or 0.0)
        return _factorise(to_host("C", C), coarsest)

    @property
    def dim(self) -> int:
        """The size d_in."""
        return int(self.scale.shape[0])

    @property
    def matrix(self) -> Host:
        """C itself, (d_in, d_in), bit-equal to what was factorised up to symmetrisation."""
        return np.asarray(self.scaled * np.outer(self.scale, self.scale))

    def solve(self, b: Array) -> Array:
        """`C⁻¹ b` in float64, in the library and on the device of `b`.

        The Cholesky solution is refined with residuals of twice float64's digits: the error falls from about
        κ 2⁻⁵³, for κ = condition_estimate, to rounding.

        Args:
            b: (d_in,) or (d_in, e), any floating dtype.

        Raises:
            ShapeError: b has the wrong length or dtype.
            NumericalError: b, or the solution, is not finite.
        """
        require_arrays(b=b)
        if b.ndim not in (1, 2) or b.shape[0] != self.dim:
            raise ShapeError(
                f"b has shape {tuple(b.shape)}; expected ({self.dim},) or ({self.dim}, e); "
                f"use the second moment of the layer that b comes from"
            )
        return from_host(self.solve_on_host(to_host("b", b)), b)

    def solve_on_host(self, b: Host) -> Host:
        """`solve` for a float64 NumPy array that was checked before."""
        with np.errstate(over="ignore", invalid="ignore"):
            columns = (b.reshape(self.dim, -1).T / self.scale).T
            solution: Host = (self._refined(columns).T / self.scale).T.reshape(b.shape)
        if not np.isfinite(solution).all():
            raise NumericalError(
                "C⁻¹b overflows float64; expected C and b on comparable scales; "
                "divide C by its sample count, or rescale b"
            )
        return solution

    def whiten_on_host(self, b: Host) -> Host:
        """`A⁻¹ b` with C = A Aᵀ, A = D L, for a float64 NumPy array (d_in, e) that was checked before.

        Lengths and angles of the result are those of b in the metric of C⁻¹. The error is about √κ 2⁻⁵³.
        """
        columns = (b.T / self.scale).T
        return np.asarray(solve_triangular(self.cholesky, columns, lower=True, check_finite=False))

    def _refined(self, b: Host) -> Host:
        y = self._substitute(b)
        before = np.linalg.norm(y, axis=0)
        for _ in range(_REFINEMENTS):
            step = self._substitute(residual(self.scaled, y, b))
            y = y + step
            size = np.linalg.norm(step, axis=0)
            # Every step is smaller than the one before by about the same factor, so the next is foreseen.
            if (size * size <= _FORESEEN * before * np.linalg.norm(y, axis=0)).all():
                break
            before = size
        return y

    def _substitute(self, b: Host) -> Host:
        return np.asarray(cho_solve((self.cholesky, True), b, check_finite=False))


def _factorise(C: Host, resolution: float) -> FactorisedMoment:
    scale = _powers_of_two(C)
    S = C / scale / scale[:, None]
    if _asymmetry(S, resolution):
        S = (S + S.T) / 2
    largest = _largest_eigenvalue(S.__matmul__, len(S))
    noise = max(RANK_TOLERANCE * largest, _rounding(S, resolution))
    factor, failed = dpotrf(S, lower=1, clean=0)
    if failed:
        raise _refusal(S, noise)
    inverse_smallest = _largest_eigenvalue(
        lambda x: np.asarray(cho_solve((factor, True), x, check_finite=False)), len(S)
    )
    if inverse_smallest * noise > 1:
        raise _refusal(S, noise)
    return FactorisedMoment(scale, S, factor, max(1.0, largest * inverse_smallest))


def _powers_of_two(C: Host) -> Host:
    """Powers of two near √C_ii (1 for a zero row): scaling by them rounds nothing."""
    diagonal = C.diagonal()
    if (diagonal < 0).any():
        first = int(np.argmax(diagonal < 0))
        raise NumericalError(
            f"C is indefinite: C[{first}, {first}] = {diagonal[first]:.3g} is negative; expected K Kᵀ, whose "
            f"diagonal holds sums of squares; check how C was computed"
        )
    safe = np.where(diagonal > 0, diagonal, 1.0)
    return np.asarray(np.exp2(np.rint(np.log2(safe) / 2)))


def _asymmetry(S: Host, resolution: float) -> float:
    """The largest |S − Sᵀ|, refused above the root of the resolution; in blocks, as a transpose is slow."""
    starts = range(0, len(S), _BLOCK)
    asymmetry = max(float(np.abs(S[i : i + _BLOCK] - S[:, i : i + _BLOCK].T).max()) for i in starts)
    if asymmetry > resolution**0.5:
        raise NumericalError(
            f"C is not symmetric: C and its transpose differ by {asymmetry:.2g} of the diagonal; "
            f"expected C = K Kᵀ; check that C is the second moment and not another matrix"
        )
    return asymmetry


def _rounding(S: Host, resolution: float) -> float:
    """Four times the spectral norm that independent rounding of the entries adds up to.

    Errors of relative size `resolution` in the entries have a norm of about resolution ‖S‖_F / √d; smaller
    eigenvalues of S are not told from zero.
    """
    norm = float(np.linalg.norm(S))
    return 4.0 * resolution * norm / math.sqrt(len(S))


def _refusal(S: Host, noise: float) -> NumericalError:
    """The error for a matrix without a usable factor; the one place that pays for all eigenvalues."""
    eigenvalues = eigvalsh(S, check_finite=False)
    if eigenvalues[0] < -noise:
        return NumericalError(
            f"C is indefinite: scaled to unit diagonal its smallest eigenvalue is {eigenvalues[0]:.2g} "
            f"(largest {eigenvalues[-1]:.2g}); expected K Kᵀ, which has none below zero; "
            f"check how C was computed, in float64"
        )
    dim = len(S)
    rank = min(int((eigenvalues > noise).sum()), dim - 1)
    dead = np.flatnonzero(S.diagonal() == 0)
    silent = f", {len(dead)} of them zero rows, the first at index {dead[0]}" if len(dead) else ""
    return SingularError(
        f"C has rank {rank} of {dim}: {dim - rank} direction(s) were never seen in the keys{silent}; "
        f"expected full rank; gather more samples (at least {dim} independent keys) or use "
        f"SecondMoment.damped(λ), e.g. SecondMoment.from_matrix(C, count=n).damped(1e-6)"
    )


def _largest_eigenvalue(apply: Callable[[Host], Host], dim: int) -> float:
    """λ_max of a symmetric positive semidefinite operator, right to about a per cent, from about 21 products.

    ARPACK's Lanczos process gives a lower bound; a matrix of up to 24 rows is formed and solved exactly. LAPACK's
    own estimate (`dpocon`) is that of the 1-norm, which is no stand-in: the condition numbers of the organisms'
    moments come out 7 and 9 times too large with it, those of random matrices of 1000 rows up to 48 times.

    Args:
        apply: gives the product with a vector (d,), or with a matrix (d, e).
        dim: d.
    """
    if dim <= _SMALL:
        return float(eigvalsh(apply(np.eye(dim)), check_finite=False)[-1])
    # The start has a part in every direction, and is always the same.
    start = np.random.default_rng(0).standard_normal(dim)
    operator = LinearOperator((dim, dim), matvec=apply, dtype=np.float64)
    found = eigsh(operator, k=1, which="LA", v0=start, tol=_TOLERANCE, return_eigenvectors=False)
    return float(found[0])
