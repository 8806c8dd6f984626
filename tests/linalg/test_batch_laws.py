"""insert_key_values keeps every law of batches, and every law notices a broken implementation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from knowedit.linalg import SecondMoment, insert_key_value, insert_key_values

from . import laws
from .batch_laws import BATCH_LAWS, make_batch
from .batch_mutants import BATCH_MUTANTS
from .strategies import batches, few, problems, seeds

SEEDS = range(4)


@pytest.mark.parametrize("law", BATCH_LAWS, ids=lambda law: law.__name__)
@few
@given(batch=batches)
def test_law(law, batch):
    law(insert_key_values, batch)


def through_moment(W, N, T, C, ridge=0.0):
    return insert_key_values(W, N, T, SecondMoment.from_matrix(C, count=16), ridge=ridge)


def through_factor(W, N, T, C, ridge=0.0):
    return insert_key_values(W, N, T, SecondMoment.from_matrix(C, count=16).factorise(), ridge=ridge)


@pytest.mark.parametrize("insert", [through_moment, through_factor])
@pytest.mark.parametrize("law", BATCH_LAWS, ids=lambda law: law.__name__)
def test_law_holds_for_every_way_to_give_the_moment(law, insert):
    for seed in range(3):
        law(insert, make_batch(seed))


def one_pair(W, k, v, C):
    return insert_key_values(W, k[:, None], v[:, None], C)


@pytest.mark.parametrize("law", laws.INSERT_LAWS, ids=lambda law: law.__name__)
@few
@given(problem=problems)
def test_a_batch_of_one_keeps_every_law_of_one(law, problem):
    law(one_pair, problem)


@few
@given(problem=problems, dtype=st.sampled_from([np.float16, np.float32, np.float64]))
def test_a_batch_of_one_is_the_single_insert_bit_for_bit(problem, dtype):
    W, k, v = (x.astype(dtype) for x in (problem.W, problem.k, problem.v))
    single, batch = insert_key_value(W, k, v, problem.C), one_pair(W, k, v, problem.C)
    assert np.array_equal(batch.left, single.left)
    assert np.array_equal(batch.right, single.right)
    assert batch.dtype == single.dtype


@few
@given(seeds)
def test_in_turn_is_far_from_joint_where_the_first_value_drifts(seed):
    """The other direction of `law_many_apart`: a drift that is not zero keeps the two apart."""
    b = make_batch(seed, pairs=2)
    first = b.p.W + one_pair(b.p.W, b.N[:, 0], b.T[:, 0], b.p.C).materialise()
    in_turn = first + one_pair(first, b.N[:, 1], b.T[:, 1], b.p.C).materialise()
    joint = b.p.W + insert_key_values(b.p.W, b.N, b.T, b.p.C).materialise()
    drift = np.linalg.norm(in_turn @ b.N[:, 0] - b.T[:, 0])
    assert drift > 0
    assert np.linalg.norm(in_turn - joint) >= 0.99 * drift / np.linalg.norm(b.N[:, 0])


def laws_broken_by(insert):
    broken = set()
    for law in BATCH_LAWS:
        for seed in SEEDS:
            try:
                law(insert, make_batch(seed))
            except AssertionError:
                broken.add(law.__name__.removeprefix("law_"))
    return broken


@pytest.mark.parametrize("name", BATCH_MUTANTS)
def test_each_mutant_is_noticed_by_its_laws(name):
    mutant, expected = BATCH_MUTANTS[name]
    assert laws_broken_by(mutant) >= set(expected.split())


def test_every_law_has_a_mutant_that_it_notices():
    noticed = {law for _, names in BATCH_MUTANTS.values() for law in names.split()}
    assert noticed == {law.__name__.removeprefix("law_") for law in BATCH_LAWS}


def test_the_package_breaks_no_law_on_the_same_problems():
    assert laws_broken_by(insert_key_values) == set()
