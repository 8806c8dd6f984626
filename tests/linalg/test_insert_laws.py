"""insert_key_value keeps every law, on problems that Hypothesis chooses."""

import pytest
from hypothesis import given

from knowedit.linalg import SecondMoment, insert_key_value

from .laws import INSERT_LAWS, make_problem
from .strategies import few, problems


@pytest.mark.parametrize("law", INSERT_LAWS, ids=lambda law: law.__name__)
@few
@given(problem=problems)
def test_law(law, problem):
    law(insert_key_value, problem)


def through_moment(W, k, v, C):
    return insert_key_value(W, k, v, SecondMoment.from_matrix(C, count=16))


def through_factor(W, k, v, C):
    return insert_key_value(W, k, v, SecondMoment.from_matrix(C, count=16).factorise())


@pytest.mark.parametrize("insert", [through_moment, through_factor])
@pytest.mark.parametrize("law", INSERT_LAWS, ids=lambda law: law.__name__)
def test_law_holds_for_every_way_to_give_the_moment(law, insert):
    for seed in range(3):
        law(insert, make_problem(seed))


def test_one_factor_serves_many_insertions_bit_for_bit():
    p = make_problem(0)
    factor = SecondMoment.from_matrix(p.C, count=1).factorise()
    for key in p.K.T:
        fresh = insert_key_value(p.W, key, p.v, p.C).materialise()
        assert (insert_key_value(p.W, key, p.v, factor).materialise() == fresh).all()
