"""Every law is tried on broken code: a law that passes there says nothing."""

import numpy as np
import pytest

from knowedit.linalg import SecondMoment, insert_key_value

from .laws import INSERT_LAWS, MOMENT_LAWS, make_problem
from .mutants import INSERT_MUTANTS, MOMENT_MUTANTS, PlainMoment

SEEDS = range(4)


def insert_laws_broken_by(insert):
    broken = set()
    for law in INSERT_LAWS:
        for seed in SEEDS:
            try:
                law(insert, make_problem(seed))
            except AssertionError:
                broken.add(law.__name__.removeprefix("law_"))
    return broken


def moment_laws_broken_by(make):
    broken = set()
    for law in MOMENT_LAWS:
        for seed in SEEDS:
            random = np.random.default_rng(seed)
            batches = [1 + random.standard_normal((n, 3)) for n in (4, 1, 7)]
            try:
                law(make(), batches)
            except AssertionError:
                broken.add(law.__name__.removeprefix("law_"))
    return broken


@pytest.mark.parametrize("name", INSERT_MUTANTS)
def test_each_insert_mutant_is_noticed_by_its_laws(name):
    mutant, laws = INSERT_MUTANTS[name]
    assert insert_laws_broken_by(mutant) >= set(laws.split())


@pytest.mark.parametrize("name", MOMENT_MUTANTS)
def test_each_moment_mutant_is_noticed_by_its_laws(name):
    mutant, laws = MOMENT_MUTANTS[name]
    assert moment_laws_broken_by(lambda: mutant(np.zeros((3, 3)))) >= set(laws.split())


def test_every_law_has_a_mutant_that_it_notices():
    noticed = {law for _, laws in (INSERT_MUTANTS | MOMENT_MUTANTS).values() for law in laws.split()}
    assert noticed == {law.__name__.removeprefix("law_") for law in (*INSERT_LAWS, *MOMENT_LAWS)}


def test_the_package_breaks_no_law_on_the_same_problems():
    assert insert_laws_broken_by(insert_key_value) == set()
    assert moment_laws_broken_by(lambda: SecondMoment.zeros(3)) == set()
    assert moment_laws_broken_by(lambda: PlainMoment(np.zeros((3, 3)))) == set()
