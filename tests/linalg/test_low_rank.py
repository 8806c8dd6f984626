"""LowRank: the matrix it stands for, its norm, and its refusals."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from knowedit.errors import InputError, NumericalError, ShapeError
from knowedit.linalg import LowRank, SecondMoment, key_gram

from .strategies import few, seeds


def random_update(seed, d_out=3, d_in=4, rank=2):
    random = np.random.default_rng(seed)
    return LowRank(
        random.standard_normal((d_out, rank)), random.standard_normal((d_in, rank)), np.dtype(float)
    )


@few
@given(seeds, st.integers(1, 5), st.integers(1, 5), st.integers(1, 7))
def test_norm_and_shape_are_those_of_the_matrix(seed, d_out, d_in, rank):
    """‖LRᵀ‖ from the factors equals the norm of the materialised matrix; rank may exceed both sides."""
    update = random_update(seed, d_out, d_in, rank)
    matrix = update.left @ update.right.T
    assert np.array_equal(update.materialise(), matrix)
    assert update.frobenius_norm() == pytest.approx(np.linalg.norm(matrix), rel=1e-12)
    assert (update.rank, update.shape) == (rank, matrix.shape)


def test_norm_survives_cancellation():
    """Two columns that cancel to 1e-9 of their size: the trace formula would give noise of 1e-8."""
    column, tiny = np.ones((4, 1)), 1e-9 * np.array([[1.0], [0], [0], [0]])
    update = LowRank(np.hstack([column + tiny, -column]), np.ones((3, 2)), np.dtype("float64"))
    assert update.frobenius_norm() == pytest.approx(1e-9 * 3**0.5, rel=1e-6)


def test_apply_to_rounds_once():
    """W + Δ in float64 and then rounded is not W + round(Δ): 1 + 2⁻¹¹ + 2⁻²² in float16."""
    update = LowRank(np.array([[2.0**-11 + 2.0**-22]]), np.ones((1, 1)), np.dtype("float16"))
    W = np.ones((1, 1), np.float16)
    assert update.apply_to(W) == np.float16(1 + 2.0**-10)
    assert W + update.materialise() == np.float16(1)
    assert W == 1


def test_apply_to_refuses_what_does_not_fit():
    update = random_update(0)
    with pytest.raises(ShapeError, match=r"W has shape \(4, 3\); expected \(3, 4\)"):
        update.apply_to(np.zeros((4, 3)))
    with pytest.raises(InputError, match="W is a torch array"):
        update.apply_to(torch.zeros(3, 4))
    with pytest.raises(ShapeError, match="dtype int64"):
        update.apply_to(np.zeros((3, 4), int))
    with pytest.raises(NumericalError):
        update.apply_to(np.full((3, 4), np.nan))
    with pytest.raises(ShapeError, match="dtype int32"):
        update.materialise(np.int32)


def test_factors_are_checked_and_kept_in_float64():
    assert LowRank(np.ones((2, 1), np.float32), np.ones((3, 1)), np.dtype("float32")).left.dtype == np.float64
    with pytest.raises(ShapeError, match="left has 1 column"):
        LowRank(np.ones((2, 1)), np.ones((3, 2)), np.dtype("float64"))
    with pytest.raises(ShapeError, match="right has shape"):
        LowRank(np.ones((2, 1)), np.ones(3), np.dtype("float64"))
    with pytest.raises(ShapeError, match="dtype has dtype int8"):
        LowRank(np.ones((2, 1)), np.ones((3, 1)), np.dtype("int8"))
    with pytest.raises(InputError, match="right is a torch array"):
        LowRank(np.ones((2, 1)), torch.ones(3, 1), np.dtype("float64"))


def test_it_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        random_update(0).left = np.zeros((3, 2))


def test_reprs_are_short():
    moment = SecondMoment.zeros(40).update(np.random.default_rng(0).standard_normal((90, 40)))
    keys = np.eye(40)[:, :3]
    assert repr(moment) == "SecondMoment(40 × 40, 90 keys)"
    assert repr(moment.factorise()).startswith("FactorisedMoment(40 × 40, condition ")
    assert repr(key_gram(keys, moment)) == "KeyGram(3 keys of rank 3)"
    assert (
        repr(LowRank(np.ones((4, 2)), np.ones((5, 2)), np.dtype("float32")))
        == "LowRank(4 × 5, rank 2, float32)"
    )
