"""The same numbers, kind, dtype and device for every array library."""

import subprocess
import sys

import array_api_strict
import numpy as np
import pytest
import torch
from hypothesis import given

from knowedit.linalg import SecondMoment, insert_key_value, kkt

from .laws import make_problem
from .strategies import few, problems


def converted(problem, convert):
    return [convert(x) for x in (problem.W, problem.k, problem.v, problem.C)]


@few
@given(problem=problems)
def test_numpy_torch_and_strict_agree_bit_for_bit(problem):
    expected = insert_key_value(*converted(problem, np.asarray))
    for convert in (torch.from_numpy, array_api_strict.asarray):
        found = insert_key_value(*converted(problem, convert))
        assert type(found.left) is type(convert(problem.W))
        assert np.array_equal(np.asarray(found.left), expected.left)
        assert np.array_equal(np.asarray(found.right), expected.right)
        # A product of two thin matrices may be summed with fused multiply-adds, hence the ulp.
        np.testing.assert_array_max_ulp(np.asarray(found.materialise()), expected.materialise(), 1)
        assert found.frobenius_norm() == pytest.approx(expected.frobenius_norm(), rel=1e-14)


def test_arrays_stay_on_their_device():
    device = array_api_strict.Device("device1")
    p = make_problem(1)
    arguments = converted(p, lambda x: array_api_strict.asarray(x, device=device))
    update = insert_key_value(*arguments)
    assert update.left.device == update.right.device == update.materialise().device == device
    moment = SecondMoment.zeros(5, like=arguments[0]).update(array_api_strict.asarray(p.K.T, device=device))
    assert moment.raw_sum.device == moment.damped(0.1).matrix.device == device
    assert moment.factorise().solve(arguments[1]).device == device


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_cuda_tensors_stay_on_the_gpu_and_agree():
    p = make_problem(2)
    update = insert_key_value(*converted(p, lambda x: torch.from_numpy(x).cuda()))
    expected = insert_key_value(*converted(p, np.asarray))
    assert update.left.is_cuda
    assert update.apply_to(torch.from_numpy(p.W).cuda()).is_cuda
    assert np.array_equal(update.left.cpu().numpy(), expected.left)
    moment = SecondMoment.zeros(5, like=update.left).update(torch.from_numpy(p.K.T).cuda())
    assert moment.matrix.is_cuda
    assert moment.condition() == pytest.approx(np.linalg.cond(p.C), rel=1e-8)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_each_dtype_goes_in_and_comes_out_rounded_once(dtype):
    """Solved in float64 from the stored values, rounded once: the error is half an ulp, not a solve's."""
    p = make_problem(3)
    W, k, v = (torch.from_numpy(x).to(dtype) for x in (p.W, p.k, p.v))
    C = torch.from_numpy(p.C)
    update = insert_key_value(W, k, v, C)
    exact = insert_key_value(*(x.double().numpy() for x in (W, k, v, C)))
    assert update.left.dtype == update.right.dtype == torch.float64
    assert update.materialise().dtype == (W + update.materialise()).dtype == update.apply_to(W).dtype == dtype
    assert torch.equal(update.materialise(), torch.from_numpy(exact.left @ exact.right.T).to(dtype))
    whole = torch.from_numpy(W.double().numpy() + exact.left @ exact.right.T)
    assert torch.equal(update.apply_to(W), whole.to(dtype))
    assert kkt(whole, k, v, C, W=W).feasibility < 1e-12


def test_dtypes_may_differ_between_arguments():
    p = make_problem(4)
    arguments = p.W.astype(np.float16), p.k.astype(np.float32), p.v, p.C.astype(np.float32)
    assert insert_key_value(*arguments).materialise().dtype == np.float16


def test_a_parameter_that_requires_grad_is_taken_as_a_value():
    p = make_problem(5)
    W = torch.nn.Parameter(torch.from_numpy(p.W.copy()))
    update = insert_key_value(W, *(torch.from_numpy(x) for x in (p.k, p.v, p.C)))
    assert not update.left.requires_grad
    assert not update.apply_to(W).requires_grad


def test_a_moment_on_the_host_serves_a_weight_of_any_library():
    p = make_problem(6)
    moment = SecondMoment.zeros(5).update(p.K.T)
    W, k, v = (torch.from_numpy(x) for x in (p.W, p.k, p.v))
    assert isinstance(insert_key_value(W, k, v, moment).left, torch.Tensor)
    assert isinstance(insert_key_value(W, k, v, moment.factorise()).left, torch.Tensor)


def test_numpy_alone_never_imports_torch():
    program = (
        "import sys, numpy as np; from knowedit.linalg import *;"
        "m = SecondMoment.zeros(2).update(np.eye(2)); one = np.ones(2);"
        "u = insert_key_value(np.eye(2), one, one, m); u.apply_to(np.eye(2)); u.frobenius_norm();"
        "W = least_squares_memory(np.eye(2), np.eye(2)); key_gram(np.eye(2), m).condition();"
        "u = insert_key_values(W, np.eye(2), np.ones((2, 2)), m); (2 * u - u).recompressed(rank=1);"
        "kkt(np.eye(2), one, one, m, W=np.eye(2)); assert 'torch' not in sys.modules; print('fine')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("fine\n", "")
