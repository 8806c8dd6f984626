"""LowRank: sums, multiples, singular values, the best approximation of lower rank and its exact error."""

import array_api_strict
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from knowedit.errors import InputError, NumericalError, ShapeError
from knowedit.linalg import Compressed, LowRank

from .strategies import few, seeds
from .test_low_rank import random_update

sizes = st.integers(1, 6)
CONVERTERS = (np.asarray, torch.from_numpy, array_api_strict.asarray)


def converted(update, convert):
    dtype = convert(np.zeros(1)).dtype
    return LowRank(convert(update.left), convert(update.right), dtype)


def dense(update):
    return np.asarray(update.left) @ np.asarray(update.right).T


@few
@given(seeds, sizes, sizes, sizes, sizes, st.floats(-1e3, 1e3))
def test_arithmetic_is_that_of_the_matrices(seed, d_out, d_in, rank, other_rank, factor):
    """Sum, difference, negative and multiple; ranks add; nothing that exists changes."""
    a, b = random_update(seed, d_out, d_in, rank), random_update(seed + 1, d_out, d_in, other_rank)
    left = a.left.copy()
    for convert in CONVERTERS:
        x, y = converted(a, convert), converted(b, convert)
        np.testing.assert_allclose(dense(x + y), dense(a) + dense(b), atol=1e-12)
        np.testing.assert_allclose(dense(x - y), dense(a) - dense(b), atol=1e-12)
        np.testing.assert_allclose(dense(-x), -dense(a), atol=1e-12)
        np.testing.assert_allclose(dense(factor * x), factor * dense(a), atol=1e-9)
        np.testing.assert_allclose(dense(x * factor), factor * dense(a), atol=1e-9)
        assert (x + y).rank == (x - y).rank == rank + other_rank
        assert (factor * x).rank == rank
        assert (x + y).dtype == (-x).dtype == (2 * x).dtype == x.dtype
        assert type((x + y).left) is type((2 * x).left) is type(x.left)
    assert np.array_equal(a.left, left)


@pytest.mark.parametrize("number", [2, 2.0, np.float32(2), np.float64(2), np.int64(2), True + 1])
def test_any_real_number_from_either_side(number):
    a = random_update(0)
    for product in (number * a, a * number):
        assert isinstance(product, LowRank)
        np.testing.assert_array_equal(product.left, 2 * a.left)


def test_what_an_update_cannot_be_added_to_or_multiplied_by():
    a = random_update(0)
    for act in (
        lambda: a + 1,
        lambda: a - np.zeros((3, 4)),
        lambda: np.zeros((3, 4)) + a,
        lambda: a * np.ones(3),
        lambda: np.ones((3, 4)) * a,
        lambda: a * "2",
        lambda: a * 1j,
    ):
        with pytest.raises(TypeError):
            act()
    with pytest.raises(InputError, match="found a factor of nan"):
        a * float("nan")
    with pytest.raises(InputError, match="found a factor of inf"):
        np.inf * a


def test_sums_of_what_does_not_belong_together():
    a = random_update(0)
    with pytest.raises(ShapeError, match=r"the updates are \(3, 4\) of float64 and \(3, 5\) of float64"):
        a + random_update(0, d_in=5)
    with pytest.raises(ShapeError, match=r"of float64 and .* of float16; expected two changes of one weight"):
        a + LowRank(a.left, a.right, np.dtype("float16"))
    with pytest.raises(InputError, match="other is a torch array"):
        a + converted(a, torch.from_numpy)


@few
@given(seeds, sizes, sizes, st.integers(1, 8))
def test_singular_values_are_those_of_the_matrix(seed, d_out, d_in, rank):
    update = random_update(seed, d_out, d_in, rank)
    expected = np.linalg.svd(dense(update), compute_uv=False)[: min(rank, d_out, d_in)]
    for convert in CONVERTERS:
        found = converted(update, convert).singular_values()
        assert type(found) is type(convert(expected))
        np.testing.assert_allclose(np.asarray(found), expected, atol=1e-12 * expected[0])


@few
@given(seeds, sizes, sizes, st.integers(1, 8), st.integers(1, 8))
def test_a_lower_rank_is_the_best_and_its_error_the_tail(seed, d_out, d_in, rank, lower):
    """Eckart and Young: ‖A − Aᵣ‖² = Σ_{i>r} σᵢ², measured on the matrices, in every library."""
    update = random_update(seed, d_out, d_in, rank)
    A = dense(update)
    U, sigma, Vt = np.linalg.svd(A, full_matrices=False)
    best = (U[:, :lower] * sigma[:lower]) @ Vt[:lower]
    for convert in CONVERTERS:
        for found in (
            converted(update, convert).recompressed(rank=lower),
            LowRank.from_dense(convert(A), rank=lower),
        ):
            assert isinstance(found, Compressed)
            small = dense(found.update)
            np.testing.assert_allclose(small, best, atol=1e-10 * sigma[0])
            measured = np.linalg.norm(A - small) / np.linalg.norm(A)
            tail = np.sqrt((sigma[lower:] ** 2).sum() / (sigma**2).sum())
            assert found.error == pytest.approx(tail, abs=1e-14)
            assert found.error == pytest.approx(measured, abs=1e-12)
            assert found.update.rank <= lower
            right = np.asarray(found.update.right)
            np.testing.assert_allclose(right.T @ right, np.eye(found.update.rank), atol=1e-12)
            assert type(found.update.left) is type(convert(A))


@few
@given(seeds, st.floats(0, 1), st.integers(1, 6))
def test_a_tolerance_keeps_the_fewest_that_reach_it(seed, tolerance, rank):
    update = random_update(seed, 6, 5, rank)
    found, error = update.recompressed(tolerance=tolerance)
    assert error <= tolerance or found.rank == min(rank, 5)
    if found.rank > 1:
        assert update.recompressed(rank=found.rank - 1).error > tolerance
    assert found.rank >= 1


def test_without_a_wish_only_rounding_is_dropped():
    a, b = random_update(0, 6, 7, 2), random_update(1, 6, 7, 1)
    doubled = a + b + a - b
    assert doubled.rank == 6
    found, error = doubled.recompressed()
    assert found.rank == 2
    assert error < 1e-14
    np.testing.assert_allclose(dense(found), 2 * dense(a), atol=1e-13)
    kept, error = random_update(2, 6, 7, 3).recompressed()
    assert kept.rank == 3
    assert error == 0


def test_a_tail_far_below_the_rest_is_stated_and_not_rounded_away():
    """Singular values 1, 1e-9, 1e-12: the errors are 1e-9 and 1e-12, not the rounding of 1."""
    Q = np.linalg.qr(np.random.default_rng(0).standard_normal((4, 3)))[0]
    update = LowRank(Q * np.array([1.0, 1e-9, 1e-12]), np.eye(5)[:, :3], np.dtype(float))
    assert update.recompressed(rank=1).error == pytest.approx(1e-9, rel=1e-5)
    assert update.recompressed(rank=2).error == pytest.approx(1e-12, rel=1e-3)


@pytest.mark.parametrize("unit", [1e-200, 1e-9, 1.0, 1e9, 1e200])
def test_errors_have_no_unit(unit):
    """Squares of singular values would overflow or vanish here."""
    update = unit * LowRank(np.diag([4.0, 3.0, 12.0]), np.eye(3), np.dtype(float))
    assert update.recompressed(rank=1).error == pytest.approx(5 / 13)
    assert update.recompressed(rank=2).error == pytest.approx(3 / 13)
    assert update.recompressed(tolerance=0.3).update.rank == 2
    assert update.recompressed().update.rank == 3
    assert update.recompressed(tolerance=1.0).update.rank == 1
    assert update.recompressed(tolerance=0.0).error == 0


def test_a_tolerance_that_is_just_met_is_met():
    update = LowRank(np.diag([4.0, 0.0, 3.0]), np.eye(3), np.dtype(float))
    assert update.recompressed(tolerance=0.6).update.rank == 1
    assert update.recompressed(tolerance=np.nextafter(0.6, 0)).update.rank == 2


def test_a_multiple_that_overflows_is_refused():
    with pytest.raises(NumericalError, match="left times the factor"):
        1e308 * LowRank(np.full((2, 1), 10.0), np.ones((3, 1)), np.dtype(float))


def test_what_is_zero_or_empty():
    zero = 0 * random_update(0)
    assert zero.rank == 2
    found, error = zero.recompressed()
    assert (found.rank, error, found.frobenius_norm()) == (1, 0, 0)
    assert LowRank.from_dense(np.zeros((2, 3)), tolerance=0.1).error == 0
    empty = LowRank(np.empty((3, 0)), np.empty((4, 0)), np.dtype(float))
    assert not empty.materialise().any()
    assert (empty.recompressed().update.rank, empty.recompressed(rank=2).error) == (0, 0)
    assert (empty + random_update(0)).rank == 2


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_a_dense_change_of_any_dtype_is_taken_as_it_is(dtype):
    """Its singular values are those of the stored numbers; the target dtype is its own, unless given."""
    matrix = torch.from_numpy(dense(random_update(5, 4, 6, 2))).to(dtype)
    whole, error = LowRank.from_dense(matrix, rank=4)
    assert error == 0
    assert whole.dtype == dtype
    torch.testing.assert_close(whole.materialise(torch.float64), matrix.double(), rtol=0, atol=1e-14)
    assert LowRank.from_dense(matrix, rank=1, dtype=torch.float64).update.materialise().dtype == torch.float64


def test_a_gradient_is_left_behind():
    matrix = torch.ones(2, 3, requires_grad=True)
    assert not LowRank.from_dense(matrix, rank=1).update.left.requires_grad


def test_values_on_a_device_stay_there():
    there = array_api_strict.Device("device1")
    matrix = array_api_strict.asarray(np.ones((2, 3)), device=there)
    update = LowRank.from_dense(matrix, rank=1).update
    assert update.left.device == (2 * update + update).recompressed().update.right.device == there


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        ({"rank": 0}, "rank is 0; expected at least 1"),
        ({"rank": -1}, "rank is -1"),
        ({"tolerance": -0.1}, "tolerance is -0.1; expected a share"),
        ({"tolerance": 1.5}, "tolerance is 1.5"),
        ({"tolerance": float("nan")}, "tolerance is nan"),
        ({"rank": 1, "tolerance": 0.5}, "found a rank and a tolerance"),
    ],
)
def test_wishes_that_cannot_be_met(wish, words):
    for act in (random_update(0).recompressed, lambda **w: LowRank.from_dense(np.eye(3), **w)):
        with pytest.raises(InputError) as caught:
            act(**wish)
        assert words in str(caught.value)


def test_matrices_that_cannot_be_compressed():
    with pytest.raises(ShapeError, match="matrix has shape"):
        LowRank.from_dense(np.ones(3), rank=1)
    with pytest.raises(ShapeError, match="matrix has dtype int64"):
        LowRank.from_dense(np.ones((3, 3), int), rank=1)
    with pytest.raises(ShapeError, match="dtype has dtype int8"):
        LowRank.from_dense(np.ones((3, 3)), rank=1, dtype=np.dtype("int8"))
    with pytest.raises(NumericalError, match="matrix holds 9"):
        LowRank.from_dense(np.full((3, 3), np.nan), rank=1)
