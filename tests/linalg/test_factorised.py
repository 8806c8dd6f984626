"""FactorisedMoment: solves, its estimate of the condition, and accuracy where float64 is short."""

from fractions import Fraction

import array_api_strict
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from knowedit.errors import NumericalError, ShapeError, SingularError
from knowedit.linalg import FactorisedMoment, insert_key_value
from knowedit.linalg._residual import residual

from .laws import exact_solution, ill_conditioned, make_problem
from .strategies import few, problems, seeds


@few
@given(problems)
def test_solve_inverts(problem):
    """C (C⁻¹B) = B for one column and for many, in the library of B."""
    factor = FactorisedMoment.from_matrix(problem.C)
    np.testing.assert_allclose(problem.C @ factor.solve(problem.k), problem.k, atol=1e-9)
    np.testing.assert_allclose(problem.C @ factor.solve(problem.K), problem.K, atol=1e-8)
    for convert in (torch.from_numpy, array_api_strict.asarray):
        found = factor.solve(convert(problem.k))
        assert np.array_equal(np.asarray(found), factor.solve(problem.k))


@few
@given(problems)
def test_matrix_is_given_back_bit_for_bit(problem):
    """Scaling by powers of two rounds nothing."""
    assert np.array_equal(FactorisedMoment.from_matrix(problem.C).matrix, (problem.C + problem.C.T) / 2)


@few
@given(seeds, st.integers(2, 60), st.floats(0, 11))
def test_estimate_is_close_and_unit_free(seed, dim, digits):
    """Within a factor 2 of the exact condition in the 2-norm after scaling, and unmoved by the units of the keys."""
    C = ill_conditioned(dim, digits, seed)
    units = np.exp2(np.random.default_rng(seed).integers(-20, 20, dim))
    factor = FactorisedMoment.from_matrix(C)
    exact = np.linalg.cond(factor.scaled)
    assert exact / 2 <= factor.condition_estimate <= exact * 2
    assert FactorisedMoment.from_matrix(C * np.outer(units, units)).condition_estimate == pytest.approx(
        factor.condition_estimate, rel=2e-2
    )


@pytest.mark.parametrize("digits", [0.1, 2, 6, 11])
def test_estimate_of_wide_matrices(digits):
    """Where ARPACK stops before the eigenvalues are exact; the 1-norm would be off by 10 to 50."""
    C = ill_conditioned(300, digits, 1)
    factor = FactorisedMoment.from_matrix(C)
    assert factor.condition_estimate == pytest.approx(np.linalg.cond(factor.scaled), rel=2e-2)


@pytest.mark.parametrize("digits", [6, 11])
def test_accuracy_against_sixty_digits(digits):
    """C⁻¹k is right to rounding, whatever the condition, and kᵀu relatively as good."""
    for seed in range(8):
        C, k = ill_conditioned(8, digits, seed), np.random.default_rng(seed).standard_normal(8)
        exact = exact_solution(C, k)
        found = FactorisedMoment.from_matrix(C).solve(k)
        assert np.linalg.norm(found - exact) <= 1e-15 * np.linalg.norm(exact)
        W, v = np.ones((2, 8)), np.array([1.0, -2.0])
        left = insert_key_value(W, k, v, C).left[:, 0]
        np.testing.assert_allclose(left, (v - W @ k) / (k @ exact), rtol=1e-13)


@few
@given(seeds, st.integers(1, 300), st.integers(1, 4), st.floats(-200, 200))
def test_a_residual_is_that_of_exact_arithmetic(seed, dim, columns, exponent):
    """b − Sy for y = S⁻¹b, where all leading digits cancel, against whole-number arithmetic."""
    random = np.random.default_rng(seed)
    S = random.uniform(-2, 2, (dim, dim))
    y = random.standard_normal((dim, columns)) * np.exp2(random.integers(-40, 40, columns)) * 2.0**exponent
    b = S @ y
    exact = [[Fraction(b[i, j]) for j in range(columns)] for i in range(min(dim, 3))]
    for i, row in enumerate(exact):
        for j in range(columns):
            row[j] -= sum(Fraction(s) * Fraction(x) for s, x in zip(S[i], y[:, j], strict=True))
    expected = np.array([[float(x) for x in row] for row in exact])
    noise = dim * 2.0**-80 * np.abs(y).max(axis=0)
    found = residual(S, y, b)[: len(exact)]
    assert (np.abs(found - expected) <= 2.0**-52 * np.abs(expected) + noise).all()


@pytest.mark.parametrize("digits", [6, 11])
def test_feasible_and_stationary_at_high_condition(digits):
    """For keys as C itself makes them: ‖Ŵk − v‖ ≤ 1e-12 ‖v‖ and ‖Cu − k‖ ≤ 1e-9 ‖k‖."""
    for seed in range(8):
        C, random = ill_conditioned(8, digits, seed), np.random.default_rng(seed)
        k = np.linalg.cholesky(C) @ random.standard_normal(8)
        W, v = random.standard_normal((3, 8)), random.standard_normal(3)
        update = insert_key_value(W, k, v, C)
        gap = update.apply_to(W) @ k - v
        assert np.linalg.norm(gap) <= 1e-9 * np.linalg.norm(v)
        assert np.linalg.norm(C @ update.right[:, 0] - k) <= 1e-9 * np.linalg.norm(k)


@pytest.mark.parametrize("dim", [6, 60])
def test_a_direction_hidden_from_a_constant_start_is_found(dim):
    """ARPACK's start is random: a direction orthogonal to (1, ..., 1) does not hide."""
    null = np.array([1.0, -1, *[0] * (dim - 2)]) / np.sqrt(2)
    spike = np.eye(dim) + 1e6 * np.outer(null, null)
    factor = FactorisedMoment.from_matrix(spike + 1e6 * np.eye(dim))
    assert factor.condition_estimate == pytest.approx(np.linalg.cond(factor.scaled), rel=2e-2)
    projector = np.eye(dim) - np.outer(null, null)
    with pytest.raises(SingularError, match=f"rank {dim - 1} of {dim}"):
        FactorisedMoment.from_matrix(projector @ projector.T)


@pytest.mark.parametrize("dim", [1, 24, 25, 300])
def test_a_multiple_of_the_identity_has_one_eigenvalue(dim):
    """Where a Lanczos process finds all there is in its first step."""
    assert FactorisedMoment.from_matrix(3 * np.eye(dim)).condition_estimate == pytest.approx(1)


@pytest.mark.parametrize("b", [np.ones(4), np.ones((4, 5)), np.ones((5, 1, 1)), np.ones(5, int)])
def test_solve_refuses_what_does_not_fit(b):
    with pytest.raises(ShapeError):
        FactorisedMoment.from_matrix(make_problem(0).C).solve(b)


def test_solve_refuses_values_that_are_not_finite():
    factor = FactorisedMoment.from_matrix(1e-200 * make_problem(0).C)
    with pytest.raises(NumericalError, match="b holds 5"):
        factor.solve(np.full(5, np.nan))
    with pytest.raises(NumericalError, match="overflows float64"):
        factor.solve(np.full(5, 1e200))


@pytest.mark.parametrize("C", [np.ones((2, 3)), np.ones(4), np.empty((0, 0)), np.eye(2, dtype=int)])
def test_matrices_that_cannot_be_factorised(C):
    with pytest.raises(ShapeError):
        FactorisedMoment.from_matrix(C)


def test_size_one():
    assert FactorisedMoment.from_matrix(np.array([[4.0]])).solve(np.array([2.0])) == 0.5
