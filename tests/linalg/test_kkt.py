"""kkt: its three ways agree, its residuals measure what they say, its refusals."""

import numpy as np
import pytest
import torch
from hypothesis import given

from knowedit.errors import InputError, NumericalError, ShapeError
from knowedit.linalg import FactorisedMoment, SecondMoment, insert_key_value, insert_key_values, kkt

from .laws import cost, inserted, make_problem
from .mutants import moment_instead_of_inverse, wrong_sign
from .strategies import batches, few, problems


@few
@given(problems)
def test_the_closed_form_satisfies_the_conditions(problem):
    """Eqn. 13 and 17 for the least-squares W; the multiplier is the left factor."""
    p, W = problem, problem.least_squares
    update = insert_key_value(W, p.k, p.v, p.C)
    found = kkt(W + update.materialise(), p.k, p.v, K=p.K, V=p.V)
    assert found.feasibility < 1e-8
    assert found.stationarity < 1e-8
    np.testing.assert_allclose(found.multiplier, update.left[:, 0], rtol=1e-6, atol=1e-9)


@few
@given(problems)
def test_three_ways_agree(problem):
    """Pairs, their moments, and (with V = WK) the old weight give the same numbers."""
    p = problem
    W_hat, old = inserted(insert_key_value, p.W, p), p.W @ p.K
    ways = (
        kkt(W_hat, p.k, p.v, K=p.K, V=old),
        kkt(W_hat, p.k, p.v, p.C, VKt=old @ p.K.T, v_norm_squared=np.linalg.norm(old) ** 2),
        kkt(W_hat, p.k, p.v, p.C, W=p.W),
    )
    size = np.linalg.norm(old) ** 2 + np.linalg.norm(W_hat @ p.K) ** 2
    for way in ways:
        assert way.objective == pytest.approx(cost(W_hat, p.K, old), rel=1e-8, abs=1e-10 * size)
        assert way.stationarity < 1e-8
        assert way.feasibility == ways[0].feasibility < 1e-8
        np.testing.assert_allclose(way.multiplier, ways[0].multiplier, rtol=1e-6, atol=1e-9)


@few
@given(batches)
def test_many_pairs_satisfy_the_conditions(batch):
    """Eqn. 13 and 17 with several columns; the multiplier is the left factor, whatever the keys' lengths."""
    p, W = batch.p, batch.p.least_squares
    lengths = np.logspace(-3, 3, batch.N.shape[1])
    N, T = batch.N * lengths, batch.T * lengths
    update = insert_key_values(W, N, T, p.C)
    found = kkt(W + update.materialise(), N, T, K=p.K, V=p.V)
    assert found.feasibility < 1e-8
    assert found.stationarity < 1e-8
    np.testing.assert_allclose(found.multiplier * lengths, update.left * lengths, rtol=1e-6, atol=1e-8)


def test_the_worst_of_many_pairs_counts():
    p = make_problem(1)
    N, T = p.K[:, :2], p.W @ p.K[:, :2] * np.array([1.2, 1.5])
    for unit in (1e-9, 1.0, 1e9):
        assert kkt(p.W, N * unit, T * unit, p.C, W=p.W).feasibility == pytest.approx(1 / 3)
    one = insert_key_values(p.W, N[:, :1], T[:, 1:], p.C)
    found = kkt(one.apply_to(p.W), N[:, 1:], T[:, 1:], p.C, W=p.W)
    assert found.stationarity > 0.1


def test_every_kind_of_moment():
    p = make_problem(0)
    W_hat = inserted(insert_key_value, p.W, p)
    moment = SecondMoment.from_matrix(p.C, count=1)
    expected = kkt(W_hat, p.k, p.v, p.C, W=p.W).objective
    assert kkt(W_hat, p.k, p.v, moment, W=p.W).objective == pytest.approx(expected)
    assert kkt(W_hat, p.k, p.v, FactorisedMoment.from_matrix(p.C), W=p.W).objective == pytest.approx(expected)
    as_torch = kkt(*(torch.from_numpy(x) for x in (W_hat, p.k, p.v, p.C)), W=torch.from_numpy(p.W))
    assert as_torch.objective == pytest.approx(expected)


def test_it_notices_what_is_wrong():
    """C for C⁻¹ is feasible and not stationary; a wrong sign is stationary and not feasible."""
    p = make_problem(1)
    crooked = kkt(inserted(moment_instead_of_inverse, p.W, p), p.k, p.v, p.C, W=p.W)
    assert crooked.feasibility < 1e-12
    assert crooked.stationarity > 0.1
    reversed_ = kkt(inserted(wrong_sign, p.W, p), p.k, p.v, p.C, W=p.W)
    assert reversed_.feasibility > 0.1
    assert reversed_.stationarity < 1e-12


@pytest.mark.parametrize("unit", [1e-12, 1e-3, 1e3, 1e12])
def test_residuals_have_no_unit(unit):
    """Values and weights in another unit, or keys and C: the residuals stay, the objective is a square."""
    p = make_problem(1)
    W_hat = inserted(moment_instead_of_inverse, p.W, p)
    expected = kkt(W_hat, p.k, p.v, p.C, W=p.W)
    for found, squares in (
        (kkt(unit * W_hat, p.k, unit * p.v, p.C, W=unit * p.W), unit**2),
        (kkt(W_hat / unit, unit * p.k, p.v, unit**2 * p.C, W=p.W / unit), 1.0),
        (kkt(W_hat, p.k, p.v, unit * p.C, W=p.W), unit),
    ):
        assert found.stationarity == pytest.approx(expected.stationarity)
        assert found.feasibility == pytest.approx(expected.feasibility, abs=1e-12)
        assert found.objective == pytest.approx(expected.objective * squares)


@pytest.mark.parametrize("unit", [1e-12, 1.0, 1e12])
def test_what_counts_as_rounding_has_no_unit(unit):
    """A change of 1e-9 of the weight is a gradient, one of a few ε is not, whatever the units."""
    p = make_problem(1)
    W, C = unit * p.W, p.C / unit
    for size, expected in ((1e-9, 1.0), (1e-15, 0.0)):
        found = kkt(W * (1 + size * np.sign(p.Z)), p.k, unit * p.v, C, W=W)
        assert round(found.stationarity) == expected


def test_the_unconstrained_minimiser_is_stationary():
    """ŴC = VKᵀ leaves only rounding, which no multiplier should have to explain."""
    p = make_problem(2)
    W = p.least_squares
    for found in (
        kkt(W, p.k, p.v, K=p.K, V=p.V),
        kkt(W, p.k, p.v, p.C, VKt=p.V @ p.K.T),
        kkt(W, p.k, p.v, p.C, W=W),
    ):
        assert found.stationarity == 0
        assert found.feasibility > 0.1


def test_zero_value_and_missing_norm():
    p = make_problem(3)
    found = kkt(p.W, p.k, np.zeros(3), p.C, VKt=p.V @ p.K.T)
    assert found.objective is None
    assert found.feasibility == pytest.approx(np.linalg.norm(p.W @ p.k))
    assert kkt(p.W, np.zeros(5), p.v, p.C, VKt=p.V @ p.K.T).feasibility == 1


P = make_problem(4)


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({}, InputError, "found ['C']; expected K and V"),
        ({"C": None}, InputError, "found []"),
        ({"W": P.W, "VKt": P.W}, InputError, "found ['C', 'VKt', 'W']"),
        ({"K": P.K, "V": P.V}, InputError, "found ['C', 'K', 'V']"),
        ({"W": P.W.T}, ShapeError, "W has shape (5, 3); expected (3, 5)"),
        ({"W": P.W, "k": P.v}, ShapeError, "k has shape (3,)"),
        ({"W": P.W, "v": P.k}, ShapeError, "v has shape (5,)"),
        ({"W": P.W, "C": P.K}, ShapeError, "C has shape (5, 9)"),
        ({"W": P.W, "k": P.K}, ShapeError, "v has shape (3,); expected (3, 9)"),
        ({"W": P.W, "k": P.K[None].T, "v": P.V[None].T}, ShapeError, "k has shape (9, 5, 1)"),
        ({"W": P.W, "W_hat": P.k}, ShapeError, "W_hat has shape (5,)"),
        ({"C": None, "K": P.K, "V": P.V[:, 1:]}, ShapeError, "V has shape (3, 8); expected (3, 9)"),
        ({"C": None, "K": P.k, "V": P.V}, ShapeError, "K has shape (5,)"),
        ({"W": P.W.astype(int)}, ShapeError, "W has dtype int64"),
        ({"W": np.nan * P.W}, NumericalError, "W holds 15"),
    ],
)
def test_refusals(changes, error, words):
    with pytest.raises(error) as caught:
        kkt(**({"W_hat": P.W, "k": P.k, "v": P.v, "C": P.C} | changes))
    assert caught.type is error
    assert words in str(caught.value)
