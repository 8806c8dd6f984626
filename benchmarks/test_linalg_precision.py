"""How exact an insertion is at GPT-2 XL's size, beside the float32 inverse of the released ROME code.

    pytest benchmarks/test_linalg_precision.py -s       or       python benchmarks/test_linalg_precision.py

W is 1600 × 6400; C has a known condition number and random eigenvectors (a diagonal between Householder
reflectors); V Kᵀ is W C, so that W is a least-squares solution. All residuals are evaluated with long
double products (80 bits on x86), since they are smaller than float64 could show. Columns:

- feasibility: ‖Ŵk − v‖ / ‖v‖ for Ŵ = W + left rightᵀ, unrounded;
- solve: ‖Cu − k‖ / ‖k‖, with u on the scale that C has;
- solution: ‖u − u*‖ / ‖u*‖, with u* from ten refinement steps kept in long double;
- stationarity: ‖G − Λkᵀ‖ / ‖G‖ for G = (Ŵ − W)C and the best Λ (Eqn. 17).

Two keys: one drawn as C says keys are (`typical`), one that is white noise (`white`), which a key never is
and for which even the exact u, rounded to float64, leaves a residual of about κ 2⁻⁵³.
"""

import time
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from scipy.linalg import cho_solve

from knowedit.linalg import FactorisedMoment, insert_key_value

D_OUT, D_IN = 1600, 6400
CONDITIONS = (1e6, 1e11)
REFLECTORS = 3
WIDE = np.longdouble


@dataclass(frozen=True)
class Row:
    condition: float
    key: str
    method: str
    feasibility: float
    solve: float
    solution: float
    stationarity: float
    seconds: float


def synthetic_moment(condition, dim, random):
    """Q diag(1 ... 1/condition) Qᵀ for a product Q of reflectors, in O(dim²) each; and Q's square root."""
    spectrum = np.logspace(0, -np.log10(condition), dim)
    C, reflectors = np.diag(spectrum), random.standard_normal((REFLECTORS, dim))
    for vector in reflectors / np.linalg.norm(reflectors, axis=1, keepdims=True):
        C -= 2 * np.outer(vector, vector @ C)
        C -= 2 * np.outer(C @ vector, vector)
    C = (C + C.T) / 2
    typical = np.sqrt(spectrum) * random.standard_normal(dim)
    for vector in reflectors / np.linalg.norm(reflectors, axis=1, keepdims=True):
        typical -= 2 * vector * (vector @ typical)
    return C, typical


def wide_product(A, x):
    """A x with long double products, in blocks of rows to save memory."""
    x = x.astype(WIDE)
    return np.concatenate([A[i : i + 256].astype(WIDE) @ x for i in range(0, len(A), 256)])


def reference_solution(C, k, factor):
    """C⁻¹k kept and refined in long double: good to about condition × 2⁻⁶⁴."""
    u = np.zeros(len(k), WIDE)
    for _ in range(10):
        residual = (k - wide_product(C, u)).astype(np.float64) / factor.scale
        u = u + cho_solve((factor.cholesky, True), residual) / factor.scale
    return u


def released_inverse(C):
    """What the released code keeps: torch.inverse of the float32 moment (None where it fails)."""
    try:
        return torch.inverse(torch.from_numpy(C).float())
    except torch.linalg.LinAlgError:
        return None


def released_insert(W, k, v, inverse):
    """The rest of the released code: u scaled to length one, then the right vector, all in float32."""
    W, k, v = (torch.from_numpy(x).float() for x in (W, k, v))
    u = inverse @ k
    u = u / u.norm()
    right = (v - W @ k) / torch.dot(k, u)
    return right.numpy().astype(np.float64), u.numpy().astype(np.float64)


def measured(W, k, v, C, left, u):
    """feasibility, solve and stationarity of one update; u may have any length."""
    norm = lambda x: float(np.sqrt(np.sum(np.asarray(x, WIDE) ** 2)))  # noqa: E731
    gap = wide_product(W, k) + left.astype(WIDE) * (u.astype(WIDE) @ k.astype(WIDE)) - v
    image = wide_product(C, u)
    # (Ŵ − W) C = left (Cu)ᵀ, so the share of it that is not along k is that of Cu.
    across = image - (image @ k.astype(WIDE)) / (k.astype(WIDE) @ k.astype(WIDE)) * k
    return norm(gap) / norm(v), image, norm(across) / norm(image), norm


def row(condition, name, method, problem, left, u, exact, seconds, rescale):
    W, k, v, C = problem
    feasibility, image, stationarity, norm = measured(W, k, v, C, left, u)
    scale = norm(exact) / norm(u) if rescale else 1.0
    solve = norm(scale * image - k) / norm(k)
    return Row(
        condition,
        name,
        method,
        feasibility,
        solve,
        norm(scale * u - exact) / norm(exact),
        stationarity,
        seconds,
    )


def precision_rows(condition, d_out=D_OUT, d_in=D_IN, seed=0):
    """Four rows: two keys, ours and the released code's."""
    random = np.random.default_rng(seed)
    C, typical = synthetic_moment(condition, d_in, random)
    W = random.standard_normal((d_out, d_in)) / d_in**0.5
    start = time.perf_counter()
    factor = FactorisedMoment.from_matrix(C)
    factor_seconds = time.perf_counter() - start
    start = time.perf_counter()
    inverse = released_inverse(C)
    inverse_seconds = time.perf_counter() - start
    rows = []
    for name, k in (("typical", typical), ("white", random.standard_normal(d_in))):
        v = random.standard_normal(d_out) * np.linalg.norm(W @ k) / d_out**0.5
        problem, exact = (W, k, v, C), reference_solution(C, k, factor)
        start = time.perf_counter()
        update = insert_key_value(W, k, v, factor)
        ours = factor_seconds + time.perf_counter() - start
        left, u = update.left[:, 0], update.right[:, 0]
        rows.append(row(condition, name, "knowedit", problem, left, u, exact, ours, False))
        if inverse is not None:
            left, u = released_insert(W, k, v, inverse)
            rows.append(
                row(condition, name, "float32 inverse", problem, left, u, exact, inverse_seconds, True)
            )
    return rows


def table(rows):
    """The rows as Markdown."""
    head = "| κ(C) | key | method | feasibility | solve | solution | stationarity | seconds |"
    lines = []
    for r in rows:
        found = (r.feasibility, r.solve, r.solution, r.stationarity)
        cells = [f"{r.condition:.0e}", r.key, r.method, *(f"{x:.1e}" for x in found), f"{r.seconds:.1f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([head, "|---" * 8 + "|", *lines])


@pytest.mark.slow
@pytest.mark.parametrize("condition", CONDITIONS)
def test_an_insertion_is_more_exact_than_with_a_float32_inverse(condition, capsys):
    rows = precision_rows(condition)
    with capsys.disabled():
        print("\n" + table(rows))
    for key in ("typical", "white"):
        ours, *others = [r for r in rows if r.key == key]
        assert ours.feasibility < 1e-9
        assert ours.stationarity < 1e-15 * condition
        assert ours.solve < 1e-15 * condition
        for other in others:
            for quantity in ("feasibility", "solve", "solution", "stationarity"):
                found, released = getattr(ours, quantity), getattr(other, quantity)
                assert not found * 10 >= released, f"{quantity}: {found:.1e} against {released:.1e}"


if __name__ == "__main__":
    print(table([line for condition in CONDITIONS for line in precision_rows(condition)]))
