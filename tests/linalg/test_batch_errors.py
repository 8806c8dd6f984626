"""insert_key_values and key_gram: refusals with their rank, and what they accept at the edge."""

import array_api_strict
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from knowedit.errors import InputError, NumericalError, ShapeError, SingularError
from knowedit.linalg import SEPARATION, FactorisedMoment, SecondMoment, insert_key_values, key_gram

from .batch_laws import make_batch
from .laws import ill_conditioned
from .strategies import batches, few, seeds

B = make_batch(0, pairs=3)
GOOD = {"W": B.p.W, "K_new": B.N, "V_new": B.T, "C": B.p.C}


def refusal(error, **changes):
    with pytest.raises(error) as caught:
        insert_key_values(**(GOOD | changes))
    assert caught.type is error
    message = str(caught.value)
    assert "\n" not in message
    assert "expected" in message
    return message


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"W": B.p.W[0]}, "W has shape (5,); expected (d_out, d_in)"),
        ({"W": B.p.W[:0]}, "W has shape (0, 5)"),
        ({"K_new": B.N[:, 0]}, "K_new has shape (5,); expected (d_in, e)"),
        ({"K_new": B.N.T}, "K_new has shape (3, 5); expected (5, 5); keys are columns"),
        ({"V_new": B.T.T[:2]}, "V_new has shape (2, 3); expected (3, 3)"),
        ({"V_new": B.T[:, :2]}, "V_new has shape (3, 2); expected (3, 3); values are columns, one for each"),
        ({"V_new": B.T[:, 0]}, "V_new has shape (3,)"),
        (
            {"K_new": B.N[:, :0], "V_new": B.T[:, :0]},
            "K_new has shape (5, 0); expected (d_in, e), each at least 1",
        ),
        ({"C": B.p.K}, "C has shape (5, 9); expected (5, 5)"),
        ({"C": SecondMoment.zeros(4)}, "C is for keys of length 4; expected 5"),
        ({"W": B.p.W.astype(int)}, "W has dtype int64"),
        ({"K_new": B.N.astype(np.int8)}, "K_new has dtype int8"),
        ({"V_new": B.T.astype(int)}, "V_new has dtype int64"),
        ({"C": B.p.C.astype(int)}, "C has dtype int64"),
    ],
)
def test_shapes_and_dtypes(changes, words):
    assert words in refusal(ShapeError, **changes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"K_new": B.N.tolist()}, "K_new is a list"),
        ({"K_new": torch.from_numpy(B.N)}, "K_new is a torch array on cpu and W is a numpy array"),
        ({"V_new": torch.from_numpy(B.T)}, "V_new is a torch array on cpu and W is a numpy array"),
        ({"C": torch.from_numpy(B.p.C)}, "C is a torch array"),
        ({"ridge": -1.0}, "ridge is -1.0; expected a finite number, at least 0"),
        ({"ridge": float("nan")}, "ridge is nan"),
        ({"ridge": float("inf")}, "ridge is inf"),
    ],
)
def test_libraries_and_numbers(changes, words):
    assert words in refusal(InputError, **changes)


@pytest.mark.parametrize("name", GOOD)
def test_values_that_are_not_finite(name):
    bad = GOOD[name].copy()
    bad[1, 0] = np.nan
    assert f"{name} holds 1 value(s) that are NaN or infinite, the first at index (1, 0)" in refusal(
        NumericalError, **{name: bad}
    )


def test_moments_that_are_no_moments():
    assert "not symmetric" in refusal(NumericalError, C=B.p.C + np.triu(B.p.C, 1))
    assert "indefinite" in refusal(NumericalError, C=-B.p.C)
    assert "C has rank 2 of 5" in refusal(SingularError, C=B.p.K[:, :2] @ B.p.K[:, :2].T)


def test_a_zero_key_is_named_by_its_column():
    keys = B.N * np.array([1.0, 0.0, 1.0])
    assert "K_new holds 1 zero key(s), the first in column 1" in refusal(NumericalError, K_new=keys)


@pytest.mark.parametrize("factor", [1.0, -3.0, 1e-6, 1e6])
@pytest.mark.parametrize("values", ["same", "other"])
def test_a_key_given_twice(factor, values):
    """Whether the values agree or not, and whatever the lengths: the rank and the two columns."""
    T = B.T.copy()
    if values == "same":
        T[:, 2] = factor * T[:, 0]
    N = np.stack([B.N[:, 0], B.N[:, 1], factor * B.N[:, 0]], axis=1)
    message = refusal(SingularError, K_new=N, V_new=T)
    assert "rank 2 of 3 (length 5): 1 of them depend on the others" in message
    assert "keys 0 and 2 being the same up to a factor" in message
    assert "conflicting values" in message
    assert "ridge=" in message


@few
@given(seeds, st.integers(1, 3), st.integers(1, 3), st.sampled_from([0, 6, 11]))
def test_dependent_keys_of_any_rank_under_any_moment(seed, rank, more, digits):
    random = np.random.default_rng(seed)
    C = ill_conditioned(6, digits, seed)
    N = random.standard_normal((6, rank)) @ random.standard_normal((rank, rank + more))
    N = N * np.exp2(random.integers(-20, 20, rank + more))
    W, T = random.standard_normal((2, 6)), random.standard_normal((2, rank + more))
    with pytest.raises(SingularError, match=rf"rank {rank} of {rank + more} \(length 6\)"):
        insert_key_values(W, N, T, C)


@pytest.mark.parametrize("columns", [(0, 0, 1), (0, 1, 1), (0, 1, 0)])
def test_the_two_equal_keys_are_named_wherever_they_are(columns):
    first, second = (i for i in range(3) if columns.count(columns[i]) == 2)
    assert f"keys {first} and {second} being the same" in refusal(SingularError, K_new=B.N[:, columns])


def test_a_sum_of_keys_names_no_pair():
    N = np.stack([B.N[:, 0], B.N[:, 1], B.N[:, 0] + B.N[:, 1]], axis=1)
    message = refusal(SingularError, K_new=N)
    assert "rank 2 of 3" in message
    assert "1 of them depend on the others; expected" in message


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_keys_that_were_dependent_before_they_were_rounded(dtype):
    """A sum rounded to its dtype is not exactly dependent; it is no reason for an enormous update either."""
    for seed in range(20):
        random = np.random.default_rng(seed)
        first, second = random.standard_normal((2, 64)).astype(dtype)
        N = np.stack([first, second, first + second], axis=1)
        arguments = random.standard_normal((2, 64)), N, random.standard_normal((2, 3)), np.eye(64)
        with pytest.raises(SingularError, match="rank 2 of 3"):
            insert_key_values(*arguments)
        apart = N + np.array([0, 0, 0.1]) * random.standard_normal((64, 1))
        insert_key_values(arguments[0], apart.astype(dtype), *arguments[2:])


def test_more_keys_than_dimensions():
    random = np.random.default_rng(0)
    N, T = random.standard_normal((5, 7)), random.standard_normal((3, 7))
    assert "rank 5 of 7 (length 5): 2 of them" in refusal(SingularError, K_new=N, V_new=T)
    found = B.p.W + insert_key_values(B.p.W, N, T, B.p.C, ridge=1e-9).materialise()
    best = np.linalg.lstsq(N.T, T.T, rcond=None)[0].T
    np.testing.assert_allclose(found, best, rtol=1e-6, atol=1e-6)


def test_as_many_keys_as_dimensions_determine_the_matrix():
    random = np.random.default_rng(0)
    N, T = random.standard_normal((5, 5)), random.standard_normal((3, 5))
    found = B.p.W + insert_key_values(B.p.W, N, T, B.p.C).materialise()
    np.testing.assert_allclose(found, np.linalg.solve(N.T, T.T).T, rtol=1e-9)


@pytest.mark.parametrize("exponent", range(1, 9))
def test_two_keys_close_together(exponent):
    """Accepted and right while float64 can tell them apart; refused below SEPARATION, and never wrong."""
    distance = 10.0**-exponent
    N = np.stack([B.N[:, 0], B.N[:, 0] + distance * B.N[:, 1]], axis=1)
    T = B.T[:, :2]
    if key_gram(N, B.p.C).condition() > SEPARATION**-2:
        assert "rank 1 of 2" in refusal(SingularError, K_new=N, V_new=T)
        assert exponent >= 6
    else:
        update = insert_key_values(B.p.W, N, T, B.p.C)
        error = np.abs(B.p.W @ N + update.left @ (update.right.T @ N) - T).max()
        assert error <= 1e-15 * key_gram(N, B.p.C).condition() * 10 + 1e-12
        assert exponent <= 7


def test_a_ridge_accepts_zero_and_dependent_keys():
    N = np.stack([B.N[:, 0], 0 * B.N[:, 0], B.N[:, 0]], axis=1)
    found = B.p.W + insert_key_values(B.p.W, N, B.T, B.p.C, ridge=1.0).materialise()
    expected = np.linalg.solve(B.p.C + N @ N.T, N @ (B.T - B.p.W @ N).T).T + B.p.W
    np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_a_ridge_below_rounding_holds_no_dependent_keys():
    N = B.N[:, [0, 1, 0]]
    message = refusal(SingularError, K_new=N, ridge=1e-30)
    assert "rank 2 of 3 and ridge 1e-30 is too small" in message
    insert_key_values(B.p.W, B.N, B.T, B.p.C, ridge=1e-30)


def test_overflow():
    assert "ordinary scales" in refusal(NumericalError, K_new=1e-100 * B.N, C=1e200 * B.p.C)


def test_numpy_torch_and_strict_agree():
    for ridge in (0.0, 0.5):
        expected = insert_key_values(**GOOD, ridge=ridge)
        for convert in (torch.from_numpy, array_api_strict.asarray):
            found = insert_key_values(**{name: convert(x) for name, x in GOOD.items()}, ridge=ridge)
            assert type(found.left) is type(convert(B.N))
            assert np.array_equal(np.asarray(found.left), expected.left)
            assert np.array_equal(np.asarray(found.right), expected.right)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
def test_half_precision_is_solved_in_float64_and_rounded_once(dtype):
    W, N, T = (torch.from_numpy(x).to(dtype) for x in (B.p.W, B.N, B.T))
    C = torch.from_numpy(B.p.C)
    update = insert_key_values(W, N, T, C)
    exact = insert_key_values(*(x.double().numpy() for x in (W, N, T, C)))
    assert update.dtype == update.materialise().dtype == dtype
    assert np.array_equal(update.left.numpy(), exact.left)
    residual = (W.double() + update.left @ update.right.T) @ N.double() - T.double()
    assert residual.abs().max() < 1e-12


@few
@given(batch=batches)
def test_the_gram_matrix_and_its_condition(batch):
    """G = NᵀC⁻¹N from either factor; the condition is that of G with a diagonal of ones."""
    gram = key_gram(batch.N, FactorisedMoment.from_matrix(batch.p.C))
    expected = batch.gram
    np.testing.assert_allclose(gram.matrix, expected, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(gram.whitened.T @ gram.whitened, expected, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(batch.p.C @ gram.directions, batch.N, rtol=1e-8, atol=1e-9)
    lengths = np.sqrt(expected.diagonal())
    unit = np.linalg.cond(expected / lengths / lengths[:, None])
    assert gram.condition() == pytest.approx(unit, rel=1e-6)
    scaled = key_gram(batch.N * np.logspace(-6, 6, gram.count), batch.p.C)
    assert scaled.condition() == pytest.approx(unit, rel=1e-6)
    assert gram.rank == gram.count == batch.N.shape[1]
    gram.require_independent()


def test_the_condition_of_dependent_keys_is_infinite_and_no_error():
    gram = key_gram(B.N[:, [0, 1, 0]], B.p.C)
    assert (gram.rank, gram.count, gram.condition()) == (2, 3, np.inf)
    assert key_gram(np.zeros((5, 1)), B.p.C).rank == 0
    with pytest.raises(SingularError, match="rank 2 of 3"):
        gram.require_independent()


def test_a_gram_matrix_needs_keys():
    with pytest.raises(ShapeError, match=r"K_new has shape \(5, 0\)"):
        key_gram(np.empty((5, 0)), B.p.C)
    with pytest.raises(ShapeError, match=r"K_new has shape \(0, 2\)"):
        key_gram(np.empty((0, 2)), B.p.C)
    with pytest.raises(ShapeError, match="K_new has dtype int64"):
        key_gram(np.ones((5, 2), int), B.p.C)
    with pytest.raises(InputError, match="C is a torch array"):
        key_gram(B.N, torch.from_numpy(B.p.C))
