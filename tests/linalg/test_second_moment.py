"""SecondMoment: the laws of streaming, damping and condition, and its refusals."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from knowedit.errors import InputError, NumericalError, ShapeError
from knowedit.linalg import SecondMoment, insert_key_value, kkt

from .laws import MOMENT_LAWS, ill_conditioned, make_problem
from .strategies import few, key_batches, problems


@pytest.mark.parametrize("law", MOMENT_LAWS, ids=lambda law: law.__name__)
@few
@given(batches=key_batches())
def test_law(law, batches):
    law(SecondMoment.zeros(batches[0].shape[1]), batches)


@few
@given(key_batches(), st.randoms(use_true_random=False))
def test_order_of_a_merge_is_rounding_only(batches, random):
    """Any permutation of the parts gives the same mean to 1e-13 and exactly the same count."""
    parts = [SecondMoment.zeros(b.shape[1]).update(b) for b in batches]
    expected = sum(parts[1:], parts[0])
    random.shuffle(parts)
    found = sum(parts[1:], parts[0])
    assert found.count == expected.count
    np.testing.assert_allclose(found.raw_sum, expected.raw_sum, rtol=0, atol=1e-13 * expected.raw_sum.max())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_keys_of_any_dtype_are_summed_in_float64(dtype):
    """A million equal keys of 0.1: a sum in the keys' own dtype would stall or drift."""
    keys = torch.full((1000, 2), 0.1, dtype=dtype)
    moment = SecondMoment.zeros(2, like=keys)
    for _ in range(100):
        moment = moment.update(keys)
    assert moment.raw_sum.dtype == torch.float64
    assert moment.count == 100_000
    assert float(moment.matrix[0, 1]) == pytest.approx(float(keys[0, 0].double()) ** 2, rel=1e-12)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_sum_of_any_dtype_is_kept_in_float64(dtype):
    moment = SecondMoment(np.eye(2, dtype=dtype), 3)
    assert moment.raw_sum.dtype == np.float64
    assert moment.resolution == np.finfo(dtype).eps


def test_no_rows_change_nothing():
    moment = SecondMoment.zeros(3).update(np.eye(3))
    same = moment.update(np.empty((0, 3)))
    assert same.count == 3
    assert np.array_equal(same.raw_sum, moment.raw_sum)


def test_from_matrix_is_the_mean():
    C = make_problem(0).C
    moment = SecondMoment.from_matrix(C, count=7)
    np.testing.assert_allclose(moment.matrix, C, rtol=1e-15)
    np.testing.assert_allclose(moment.raw_sum, 7 * C, rtol=1e-15)
    assert (moment.count, moment.dim) == (7, 5)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_keys_that_are_not_finite_are_refused_and_nothing_changes(bad):
    moment = SecondMoment.zeros(3).update(np.eye(3))
    with pytest.raises(NumericalError, match=r"keys holds 1 value\(s\) .* index \(1, 2\)"):
        moment.update(np.array([[1.0, 2, 3], [4, 5, bad]]))
    assert moment.count == 3
    assert np.array_equal(moment.raw_sum, np.eye(3))


@pytest.mark.parametrize(
    ("act", "error", "words"),
    [
        (
            lambda m: m.update(np.ones(3)),
            ShapeError,
            "keys has shape (3,); expected (n, 3)",
        ),
        (lambda m: m.update(np.ones((2, 4))), ShapeError, "keys has shape (2, 4); expected (n, 3)"),
        (lambda m: m.update(np.ones((2, 3), int)), ShapeError, "keys has dtype int64"),
        (lambda m: m.update(torch.ones(2, 3)), InputError, "keys is a torch array"),
        (lambda m: m.update([[1.0, 2.0, 3.0]]), InputError, "keys is a list"),
        (lambda m: m.update(np.full((2, 3), 1e200)), NumericalError, "overflows float64"),
        (lambda m: m.merge(SecondMoment.zeros(4)), ShapeError, "other has shape (4, 4); expected (3, 3)"),
        (lambda m: m + np.eye(3), InputError, "found a ndarray to merge"),
        (lambda m: m.merge(SecondMoment.zeros(3, like=torch.ones(1))), InputError, "other is a torch array"),
        (lambda m: m.damped(0), InputError, "lam is 0; expected a positive"),
        (lambda m: m.damped(float("nan")), InputError, "lam is nan"),
        (lambda m: SecondMoment.zeros(0), InputError, "dim is 0"),
        (lambda m: SecondMoment.zeros(3).matrix, InputError, "seen 0 keys"),
        (lambda m: SecondMoment.zeros(3).damped(1.0), InputError, "seen 0 keys"),
        (
            lambda m: SecondMoment.from_matrix(np.eye(3), count=0),
            InputError,
            "count is 0; expected at least 1",
        ),
        (
            lambda m: SecondMoment.from_matrix(np.ones((2, 3)), count=1),
            ShapeError,
            "raw_sum has shape (2, 3)",
        ),
        (lambda m: SecondMoment.from_matrix(np.full((2, 2), np.nan), count=1), NumericalError, "C holds 4"),
        (lambda m: SecondMoment(np.eye(2), -1), InputError, "count is -1"),
    ],
)
def test_refusals(act, error, words):
    with pytest.raises(error) as caught:
        act(SecondMoment.zeros(3).update(np.eye(3)))
    assert caught.type is error
    assert words in str(caught.value)


@few
@given(problems)
def test_condition_is_that_of_the_matrix(problem):
    """condition() is λ_max/λ_min."""
    moment = SecondMoment.zeros(len(problem.k)).update(problem.K.T)
    assert moment.condition() == pytest.approx(np.linalg.cond(problem.C), rel=1e-6)


def test_condition_of_a_singular_moment_is_infinite():
    assert SecondMoment.zeros(3).update(np.ones((2, 3))).condition() == np.inf
    assert SecondMoment.from_matrix(np.diag([1.0, 0, 2]), count=1).condition() == np.inf


@pytest.mark.parametrize("unit", [1e-200, 1e-9, 1.0, 1e9, 1e200])
def test_condition_has_no_unit_and_is_infinite_below_rounding(unit):
    for diagonal, expected in (
        ([1.0, 4.0, 100.0], 100.0),
        ([1e-30, 1e-20, 1.0], np.inf),
        ([1e-15, 1.0, 1.0], 1e15),
        ([1e-17, 1e-17, 1.0], np.inf),
    ):
        moment = SecondMoment.from_matrix(unit * np.diag(diagonal), count=1)
        assert moment.condition() == pytest.approx(expected)


@few
@given(problems, st.floats(1e-6, 10))
def test_damping_does_what_it_says(problem, lam):
    """matrix gains lam (tr C / d) I, the count stays, the condition is at most 1 + d / lam."""
    dim = len(problem.k)
    moment = SecondMoment.zeros(dim).update(problem.K.T)
    damped = moment.damped(lam)
    expected = moment.matrix + lam * np.trace(moment.matrix) / dim * np.eye(dim)
    np.testing.assert_allclose(damped.matrix, expected, rtol=1e-12)
    assert damped.count == moment.count
    assert damped.condition() <= (1 + dim / lam) * (1 + 1e-9)


@few
@given(problems)
def test_damping_trades_change_of_old_values_for_change_of_weight(problem):
    """With lam, Ŵ is stationary for ‖(Ŵ−W)K‖² + count lam (tr C/d) ‖Ŵ−W‖², and feasible."""
    dim, samples = problem.K.shape
    moment = SecondMoment.zeros(dim).update(problem.K.T)
    W_hat = problem.W + insert_key_value(problem.W, problem.k, problem.v, moment.damped(0.1)).materialise()
    ridge = np.sqrt(samples * 0.1 * np.trace(moment.matrix) / dim) * np.eye(dim)
    widened = np.hstack([problem.K, ridge])
    found = kkt(W_hat, problem.k, problem.v, K=widened, V=problem.W @ widened)
    assert found.stationarity < 1e-8
    assert found.feasibility < 1e-10


def test_damping_rescues_a_dead_neuron():
    K = make_problem(0).K.copy()
    K[2] = 0
    damped = SecondMoment.zeros(5).update(K.T).damped(1e-6)
    W_hat = insert_key_value(np.zeros((2, 5)), np.ones(5), np.ones(2), damped).materialise()
    np.testing.assert_allclose(W_hat @ np.ones(5), 1, rtol=1e-10)


def test_a_condition_of_1e11_survives_streaming():
    C = ill_conditioned(6, 11)
    keys = np.linalg.cholesky(C).T
    assert SecondMoment.zeros(6).update(keys).condition() == pytest.approx(1e11, rel=1e-3)
