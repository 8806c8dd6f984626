"""least_squares_memory: the minimiser, the smallest one, damping, dtypes and refusals."""

import array_api_strict
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from knowedit.errors import InputError, NumericalError, ShapeError
from knowedit.linalg import SecondMoment, insert_key_value, kkt, least_squares_memory

from .laws import make_problem
from .strategies import few, problems, seeds


@few
@given(problem=problems)
def test_it_is_the_minimiser(problem):
    """W K Kᵀ = V Kᵀ, and any other matrix costs exactly ‖(X−W)K‖² more."""
    p = problem
    W = least_squares_memory(p.K, p.V)
    np.testing.assert_allclose(W @ p.C, p.V @ p.K.T, rtol=1e-8, atol=1e-8)
    excess = np.linalg.norm((W + p.Z) @ p.K - p.V) ** 2 - np.linalg.norm(W @ p.K - p.V) ** 2
    assert excess == pytest.approx(np.linalg.norm(p.Z @ p.K) ** 2, rel=1e-8, abs=1e-10)


@few
@given(seeds, st.integers(1, 5), st.integers(0, 3))
def test_few_keys_are_recalled_exactly_by_the_smallest_matrix(seed, count, more):
    """n ≤ d_in: WK = V, and W is zero on everything orthogonal to the keys."""
    random = np.random.default_rng(seed)
    K, V = random.standard_normal((count + more, count)), random.standard_normal((3, count))
    W = least_squares_memory(K, V)
    np.testing.assert_allclose(W @ K, V, atol=1e-8 * np.linalg.cond(K))
    across = np.linalg.svd(K)[0][:, count:]
    assert np.linalg.norm(W @ across) <= 1e-10 * np.linalg.norm(W)


def test_repeated_keys_get_the_mean_of_their_values():
    K = np.array([[1.0, 1.0], [2.0, 2.0], [0.0, 0.0]])
    W = least_squares_memory(K, np.array([[1.0, 3.0]]))
    np.testing.assert_allclose(W @ K[:, 0], [2.0])
    np.testing.assert_allclose(W, 2.0 / 5 * K[:, :1].T)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_rounding_is_not_a_direction(dtype):
    """Keys that span a plane, rounded to their dtype, still make a memory of rank two."""
    random = np.random.default_rng(3)
    K = (random.standard_normal((6, 2)) @ random.standard_normal((2, 5))).astype(dtype)
    W = least_squares_memory(K, random.standard_normal((6, 5)))
    assert np.linalg.matrix_rank(W, tol=1e-9 * np.linalg.norm(W)) == 2


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32], ids=str)
def test_rounding_is_not_a_direction_where_keys_are_long(dtype):
    """d ε exceeds one here, for which LAPACK would fall back to no cutoff at all."""
    generator = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    K, V = (draw(1100, 2) @ draw(2, 6)).to(dtype), draw(3, 6)
    W = least_squares_memory(K, V)
    assert torch.linalg.matrix_rank(W, rtol=1e-9) == 2
    apart = draw(1100, 6).to(dtype)
    torch.testing.assert_close(least_squares_memory(apart, V) @ apart.double(), V)


@pytest.mark.parametrize(
    ("dtype", "others", "cutoff"),
    [(np.float32, 0, 2**0.5 * 2.0**-23), (np.float16, 0, 2**0.5 * 2.0**-10), (np.float64, 48, 50 * 2.0**-52)],
)
def test_the_cutoff_is_where_it_is_said_to_be(dtype, others, cutoff):
    """A second direction of √r ε of the first (or n times float64's ε) is where noise ends."""
    for share, expected in ((0.9, 0.0), (1.1, 1.0)):
        K = np.hstack([np.diag([1.0, share * cutoff]), np.zeros((2, others))]).astype(dtype)
        W = least_squares_memory(K, K.astype(float))
        np.testing.assert_allclose(W, np.diag([1.0, expected]), atol=1e-6)


@few
@given(problem=problems, damping=st.floats(1e-6, 10))
def test_damping_is_that_of_the_second_moment(problem, damping):
    """W = V Kᵀ C⁻¹ with the damped C: the minimiser of ‖WK − V‖² + λ (tr KKᵀ / d_in) ‖W‖²."""
    p = problem
    moment = SecondMoment.zeros(len(p.K)).update(p.K.T).damped(damping)
    expected = np.linalg.solve(moment.raw_sum, p.K @ p.V.T).T
    found = least_squares_memory(p.K, p.V, damping=damping)
    np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-9)
    ridge = damping * np.trace(p.C) / len(p.K)
    np.testing.assert_allclose((found @ p.K - p.V) @ p.K.T, -ridge * found, rtol=1e-6, atol=1e-8)


def test_damping_takes_rounded_keys_as_they_are():
    """Damping holds every direction, so none is dropped for the rounding of the keys' dtype."""
    K = np.diag([1.0, 2.0**-12]).astype(np.float16)
    damping = 1e-9
    ridge = damping * (1 + 2.0**-24) / 2
    expected = np.diag([1 / (1 + ridge), 2.0**-24 / (2.0**-24 + ridge)])
    np.testing.assert_allclose(least_squares_memory(K, K.astype(float), damping=damping), expected, rtol=1e-9)


def test_damping_accepts_a_dead_neuron():
    K = make_problem(0).K.copy()
    K[2] = 0
    W = least_squares_memory(K, make_problem(0).V, damping=1e-3)
    np.testing.assert_allclose(W[:, 2], 0, atol=1e-14)
    assert np.linalg.norm(W) > 0.1


def test_keys_with_a_condition_of_1e8_are_not_squared():
    """K Kᵀ has a condition of 1e16, which float64 cannot hold; K itself is no difficulty."""
    random = np.random.default_rng(0)
    left, right = (np.linalg.qr(random.standard_normal((6, 6)))[0] for _ in range(2))
    K, W = left * np.logspace(0, -8, 6) @ right, random.standard_normal((3, 6))
    found = least_squares_memory(K, W @ K)
    assert np.linalg.norm(found - W) <= 1e-6 * np.linalg.norm(W)


@few
@given(problem=problems)
def test_it_is_the_weight_that_an_insertion_starts_from(problem):
    p = problem
    W = least_squares_memory(p.K, p.V)
    W_hat = insert_key_value(W, p.k, p.v, p.C).apply_to(W)
    found = kkt(W_hat, p.k, p.v, K=p.K, V=p.V)
    assert found.feasibility < 1e-8
    assert found.stationarity < 1e-7


def test_libraries_devices_and_dtypes():
    p = make_problem(1)
    expected = least_squares_memory(p.K, p.V)
    for convert in (torch.from_numpy, array_api_strict.asarray):
        found = least_squares_memory(convert(p.K), convert(p.V))
        assert type(found) is type(convert(p.K))
        assert np.array_equal(np.asarray(found), expected)
    half = least_squares_memory(torch.from_numpy(p.K), torch.from_numpy(p.V).bfloat16())
    assert half.dtype == torch.bfloat16
    there = array_api_strict.Device("device1")
    moved = [array_api_strict.asarray(x, device=there) for x in (p.K, p.V)]
    assert least_squares_memory(*moved).device == there


P = make_problem(2)


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"K": P.k}, ShapeError, "K has shape (5,); expected (d_in, n)"),
        (
            {"K": P.K[:, :0], "V": P.V[:, :0]},
            ShapeError,
            "K has shape (5, 0); expected (d_in, n), each at least 1",
        ),
        ({"V": P.V[:, 1:]}, ShapeError, "V has shape (3, 8); expected (d_out, 9); give one value"),
        ({"V": P.v}, ShapeError, "V has shape (3,)"),
        ({"K": P.K.astype(int)}, ShapeError, "K has dtype int64"),
        ({"V": P.V.astype(int)}, ShapeError, "V has dtype int64"),
        ({"V": torch.from_numpy(P.V)}, InputError, "V is a torch array"),
        ({"damping": -1.0}, InputError, "damping is -1.0"),
        ({"damping": float("inf")}, InputError, "damping is inf"),
        ({"K": 0 * P.K}, NumericalError, "K is zero"),
        ({"K": np.nan * P.K}, NumericalError, "K holds 45"),
        ({"V": np.inf * P.V}, NumericalError, "V holds 27"),
        ({"V": (6e4 * np.sign(P.V)).astype(np.float16), "K": 1e-3 * P.K}, NumericalError, "does not fit"),
    ],
)
def test_refusals(changes, error, words):
    with pytest.raises(error) as caught:
        least_squares_memory(**({"K": P.K, "V": P.V} | changes))
    assert caught.type is error
    assert words in str(caught.value)
