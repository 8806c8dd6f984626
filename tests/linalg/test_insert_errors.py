"""Every refusal: its class, and that one line says what was found, what was expected and what to do."""

import array_api_strict
import numpy as np
import pytest
import torch

from knowedit.errors import InputError, NumericalError, ShapeError, SingularError
from knowedit.linalg import SecondMoment, insert_key_value

from .laws import ill_conditioned, make_problem

P = make_problem(0)
GOOD = {"W": P.W, "k": P.k, "v": P.v, "C": P.C}


def refusal(error, **changes):
    """The message of the error that these arguments raise, checked for its form."""
    with pytest.raises(error) as caught:
        insert_key_value(**(GOOD | changes))
    assert caught.type is error
    message = str(caught.value)
    assert "\n" not in message
    assert "expected" in message
    return message


def with_value(array, value):
    copy = array.copy()
    copy.flat[1] = value
    return copy


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"W": P.W[0]}, "W has shape (5,); expected (d_out, d_in)"),
        ({"W": P.W[None]}, "W has shape (1, 3, 5)"),
        ({"W": P.W.T}, "k has shape (5,); expected (3,); W is (d_out, d_in): transpose W"),
        ({"W": P.W[:0], "v": P.v[:0]}, "W has shape (0, 5)"),
        ({"k": P.k[:4]}, "k has shape (4,); expected (5,)"),
        ({"k": P.k[:, None]}, "k has shape (5, 1); expected (5,)"),
        ({"v": P.k}, "v has shape (5,); expected (3,)"),
        ({"C": P.K}, "C has shape (5, 9); expected (5, 5)"),
        ({"C": P.C[:4, :4]}, "C has shape (4, 4); expected (5, 5)"),
        ({"C": P.C[0]}, "C has shape (5,); expected (5, 5)"),
        ({"C": SecondMoment.zeros(4)}, "C is for keys of length 4; expected 5"),
        ({"W": P.W.astype(int)}, "W has dtype int64; expected one of float16"),
        ({"k": P.k.astype(np.int32)}, "k has dtype int32"),
        ({"v": P.v.astype(bool)}, "v has dtype bool"),
        ({"C": P.C.astype(complex)}, "C has dtype complex128"),
    ],
)
def test_shapes_and_dtypes(changes, words):
    assert words in refusal(ShapeError, **changes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"k": list(P.k)}, "k is a list; expected an array"),
        ({"C": None}, "C is a NoneType; expected an array"),
        ({"k": torch.from_numpy(P.k)}, "k is a torch array on cpu and W is a numpy array on cpu"),
        ({"C": torch.from_numpy(P.C)}, "C is a torch array"),
        ({"W": torch.from_numpy(P.W)}, "k is a numpy array on cpu and W is a torch array"),
    ],
)
def test_libraries(changes, words):
    assert words in refusal(InputError, **changes)


def test_devices():
    arrays = {name: array_api_strict.asarray(x) for name, x in GOOD.items()}
    arrays["C"] = array_api_strict.asarray(P.C, device=array_api_strict.Device("device1"))
    assert "expected one library and one device" in refusal(InputError, **arrays)


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite(name, value):
    message = refusal(NumericalError, **{name: with_value(GOOD[name], value)})
    assert f"{name} holds 1 value(s) that are NaN or infinite, the first at index (" in message


def test_zero_key():
    assert "k is the zero vector" in refusal(NumericalError, k=np.zeros(5))


def test_moment_that_is_not_symmetric():
    assert "not symmetric" in refusal(NumericalError, C=P.C + np.triu(P.C, 1))


def test_moment_with_a_negative_eigenvalue():
    C = np.eye(5)
    C[0, 1] = C[1, 0] = 2
    assert "indefinite: scaled to unit diagonal its smallest eigenvalue is -1 " in refusal(
        NumericalError, C=C
    )
    assert "C[0, 0] = -" in refusal(NumericalError, C=-P.C)


@pytest.mark.parametrize("samples", [1, 2, 4])
@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e8])
def test_fewer_samples_than_dimensions(samples, scale):
    K = scale * P.K[:, :samples]
    message = refusal(SingularError, C=K @ K.T)
    assert f"C has rank {samples} of 5" in message
    assert "more samples" in message
    assert "damped" in message


def test_many_samples_in_a_subspace_also_when_units_differ_by_twelve_orders():
    """Rounding often lets Cholesky succeed here, so the decision cannot be left to it."""
    succeeded = 0
    for seed in range(60):
        random = np.random.default_rng(seed)
        K = np.logspace(-6, 6, 5)[:, None] * (
            random.standard_normal((5, 4)) @ random.standard_normal((4, 300))
        )
        C = K @ K.T
        assert "C has rank 4 of 5" in refusal(SingularError, C=C)
        try:
            np.linalg.cholesky(C)
            succeeded += 1
        except np.linalg.LinAlgError:
            pass
    assert succeeded > 5


def test_dead_neuron():
    C = P.C.copy()
    C[2] = C[:, 2] = 0
    message = refusal(SingularError, C=C)
    assert "rank 4 of 5" in message
    assert "zero rows, the first at index 2" in message


def test_no_keys_at_all():
    assert "rank 0 of 5" in refusal(SingularError, C=np.zeros((5, 5)))
    assert "keep the result of update()" in refusal(InputError, C=SecondMoment.zeros(5))


@pytest.mark.parametrize(("dtype", "rank"), [(np.float16, "[67]"), (np.float32, "7")])
def test_coarse_moment_of_too_few_samples(dtype, rank):
    """A zero eigenvalue is not rescued by the rounding of the dtype that C is stored in."""
    for seed in range(40):
        K = np.random.default_rng(seed).standard_normal((8, 7))
        arguments = {"W": np.eye(8), "k": K[:, 0], "v": K[:, 1], "C": (K @ K.T).astype(dtype)}
        with pytest.raises(SingularError, match=f"rank {rank} of 8"):
            insert_key_value(**arguments)


def test_moment_read_from_float32_remembers_it(tmp_path):
    K = np.random.default_rng(1).standard_normal((8, 7))
    moment = SecondMoment.from_matrix((K @ K.T).astype(np.float32), count=7)
    moment.save(tmp_path / "m")
    for same in (
        moment + SecondMoment.zeros(8),
        SecondMoment.zeros(8) + moment,
        SecondMoment.load(tmp_path / "m"),
    ):
        assert same.resolution == 2.0**-23
        with pytest.raises(SingularError, match="rank 7 of 8"):
            same.factorise()


def test_large_units_are_not_a_rank():
    """Neurons on scales 1e-6 to 1e6 give κ(C) = 1e24 and no difficulty at all."""
    scale = np.logspace(-6, 6, 5)
    update = insert_key_value(P.W, scale * P.k, P.v, scale[:, None] * P.C * scale)
    expected = insert_key_value(P.W, P.k, P.v, P.C)
    np.testing.assert_allclose(update.right[:, 0] * scale, expected.right[:, 0], rtol=1e-8)


def test_overflow_in_the_quotient():
    # 1 / (kᵀC⁻¹k) overflows: C is 1e200 and k is 1e-100.
    message = refusal(NumericalError, k=1e-100 * P.k, C=1e200 * P.C)
    assert "ordinary scales" in message


def test_update_that_does_not_fit_the_dtype():
    update = insert_key_value(P.W.astype(np.float16), P.k, 1e6 * P.v, P.C)
    with pytest.raises(NumericalError, match="does not fit float16"):
        update.materialise()
    with pytest.raises(NumericalError, match=r"W \+ update has a value"):
        update.apply_to(P.W.astype(np.float16))
    assert np.isfinite(update.materialise(np.float32)).all()


def test_condition_1e11_is_accepted_in_every_small_size():
    for dim in range(2, 9):
        for seed in range(10):
            random = np.random.default_rng(seed)
            C = ill_conditioned(dim, 11, seed)
            insert_key_value(random.standard_normal((2, dim)), random.standard_normal(dim), np.ones(2), C)
