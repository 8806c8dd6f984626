"""Claims are found by id, and the real ones are complete and can travel to a worker."""

import pickle
from typing import Any

import pytest

from claims.catalogue import SECTIONS
from claims.record import load_record
from claims.registry import MATRICES, Claim, claims_of, select
from claims.verdicts import Verdict, judge
from knowedit.intervals import Interval
from tests.claims.fakes import fake_claim, fake_section

NAMED_IN_THE_PAPER_NOTES = {
    "algebra.feasible",
    "algebra.stationary",
    "algebra.optimal",
    "algebra.rank-one",
    "algebra.block-system",
}


def test_claims_are_selected_by_the_beginning_of_their_id() -> None:
    sections = [fake_section(fake_claim("a.one"), fake_claim("a.two"), fake_claim("b"))]
    (section,) = select(sections, "fake.a")
    assert [claim.id for claim in section.claims] == ["fake.a.one", "fake.a.two"]
    assert select(sections, "other") == []


@pytest.mark.parametrize(
    "second", [fake_claim("a"), fake_claim("a").__class__(**{**vars(fake_claim("a")), "id": "x.a"})]
)
def test_an_id_is_unique_and_belongs_to_its_section(second: Claim[Any]) -> None:
    with pytest.raises(ValueError, match="taken or misnamed"):
        claims_of([fake_section(fake_claim("a"), second)])


def test_the_claims_of_the_paper_notes_are_there() -> None:
    assert claims_of(SECTIONS).keys() >= NAMED_IN_THE_PAPER_NOTES


@pytest.mark.parametrize("claim", [claim for _, claim in claims_of(SECTIONS).values()], ids=lambda c: c.id)
def test_every_claim_is_complete_and_its_expectation_can_fail(claim: Claim[Any]) -> None:
    assert all([claim.place, claim.statement, claim.quantity, claim.paper, claim.control])
    far = Interval(-1e9, -1e9, -1e9, 1), Interval(1e9, 1e9, 1e9, 1)
    assert {judge(value, claim.expectation) for value in far} == {Verdict.HOLDS, Verdict.CONTRADICTED}


def test_sections_can_be_sent_to_another_process() -> None:
    assert claims_of(pickle.loads(pickle.dumps(SECTIONS))).keys() == claims_of(SECTIONS).keys()


def test_only_theorems_are_measured_without_a_model() -> None:
    assert {section.name for section in SECTIONS if section.on_matrices} == {"algebra"}
    assert all(section.proved == (section.name == "algebra") for section in SECTIONS)


def test_the_record_speaks_of_claims_that_exist() -> None:
    claims = claims_of(SECTIONS)
    for claim, model in load_record():
        assert claim in claims
        assert model != MATRICES or claims[claim][0].on_matrices
