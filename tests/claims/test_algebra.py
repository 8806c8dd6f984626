"""The algebraic claims tell the product from every wrong formula, one at a time."""

import numpy as np
import pytest

from claims.algebra import (
    BOUND,
    CLAIMS,
    Residual,
    change_not_least,
    excess_over_competitors,
    infeasibility,
    non_stationarity,
)
from claims.insertions import (
    Insertion,
    best_feasible,
    identity,
    inserted,
    no_divisor,
    not_inverted,
    product,
    wrong_sign,
)
from claims.problems import random_problems
from claims.settings import Settings

PROBLEMS = random_problems(Settings())[:9]

DIES_BY = {
    "infeasible by sign": (infeasibility, wrong_sign),
    "infeasible without divisor": (infeasibility, no_divisor),
    "not stationary by C": (non_stationarity, not_inverted),
    "not stationary by the identity": (non_stationarity, identity),
    "not optimal by C": (excess_over_competitors, not_inverted),
    "not optimal by the identity": (excess_over_competitors, identity),
    "not the least change by C": (change_not_least, not_inverted),
}


@pytest.mark.parametrize(("residual", "wrong"), DIES_BY.values(), ids=DIES_BY.keys())
def test_a_wrong_formula_misses_the_bound_and_the_product_keeps_it(
    residual: Residual, wrong: Insertion
) -> None:
    assert max(residual(problem, product) for problem in PROBLEMS) <= BOUND
    assert min(residual(problem, wrong) for problem in PROBLEMS) > 100 * BOUND


def test_the_other_way_to_the_minimiser_is_feasible_and_finds_the_same() -> None:
    for problem in PROBLEMS:
        found = best_feasible(problem)
        assert np.allclose(found @ problem.k, problem.v)
        close = (found - inserted(problem, product)) @ problem.K
        assert np.linalg.norm(close) <= BOUND * np.linalg.norm(found @ problem.K)


def test_the_problems_are_what_they_say() -> None:
    for problem in PROBLEMS:
        gradient = (problem.W @ problem.K - problem.V) @ problem.K.T
        assert np.linalg.norm(gradient) <= BOUND * np.linalg.norm(problem.V) * np.linalg.norm(problem.K)


def test_every_claim_can_be_measured() -> None:
    for claim in CLAIMS:
        measured = claim.measure(PROBLEMS)
        assert measured.value.n == len(PROBLEMS)
        assert measured.value.mean <= BOUND < measured.control.mean
