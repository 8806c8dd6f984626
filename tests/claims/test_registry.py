"""Claims are found by id, and the real ones are complete and can travel to a worker."""

import pickle
from functools import partial
from importlib import import_module
from typing import Any

import pytest

from claims.catalogue import SECTIONS
from claims.record import load_record
from claims.registry import DATA, MATRICES, Claim, claims_of, select
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


def test_only_theorems_and_the_data_are_measured_without_a_model() -> None:
    found = {section.name: set(section.without_model) for section in SECTIONS if section.without_model}
    assert found == {"algebra": {MATRICES}, "data": {DATA}}
    assert {section.name for section in SECTIONS if not section.for_models} == {"data"}
    assert all(section.proved == (section.name == "algebra") for section in SECTIONS)


def test_a_claim_is_measured_in_the_file_that_states_it_and_a_file_is_about_one_section() -> None:
    """So that a new claim touches that file and the record."""
    section_of: dict[str, str] = {}
    for section in SECTIONS:
        for claim in section.claims:
            measure: Any = claim.measure
            while isinstance(measure, partial):
                measure = measure.func
            home = import_module(measure.__module__)
            stated = home.CLAIMS if hasattr(home, "CLAIMS") else home.SECTION.claims
            assert claim in stated, claim.id
            assert section_of.setdefault(home.__name__, section.title) == section.title


def test_the_record_speaks_of_claims_that_exist() -> None:
    claims = claims_of(SECTIONS)
    for claim, model in load_record():
        assert claim in claims
        assert model not in (MATRICES, DATA) or model in claims[claim][0].without_model
