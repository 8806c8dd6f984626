"""What a claim is, and how claims that share their measurements are kept together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, Literal, TypeVar

from claims.models import OpenModel
from claims.settings import Settings
from knowedit.intervals import Interval

MATRICES = "random matrices"
"""What stands for a model's name where a claim is measured on matrices drawn at random."""
DATA = "COUNTERFACT"
"""The same, where a claim is about the data set; a run without the data is no failure."""

E = TypeVar("E")

Direction = Literal["at least", "at most"]

Progress = Callable[[int, int], None]
"""Called with the steps done and all steps."""


@dataclass(frozen=True)
class Expectation:
    """A bound, in the claim's unit, that a measurement keeps or not."""

    direction: Direction
    bound: float


@dataclass(frozen=True)
class Measured:
    """What was found, in the claim's unit.

    Attributes:
        value: the claim's quantity.
        control: the same quantity of the control.
        note: anything a reader should know besides.
    """

    value: Interval
    control: Interval
    note: str = ""


def exactly(value: float, n: int) -> Interval:
    """A number that has no interval."""
    return Interval(value, value, value, n)


@dataclass(frozen=True)
class Claim(Generic[E]):
    """One statement that can turn out to be false.

    Attributes:
        id: for instance ``rome.efficacy``.
        place: where the paper says it.
        statement: what is claimed, in a sentence.
        quantity: what is measured.
        unit: of the quantity; empty if it has none.
        paper: the paper's number.
        expectation: set before measuring.
        control: what is done wrong on purpose, and so must miss the expectation.
        measure: from the section's evidence to the numbers.
        digits: how the numbers are written.
        on_models: whether it is measured on models too, where its section is.
        theorems: what is proved about it, such as ``insertion.v: eqn13_feasible``.
    """

    id: str
    place: str
    statement: str
    quantity: str
    unit: str
    paper: str
    expectation: Expectation
    control: str
    measure: Callable[[E], Measured]
    digits: str = ".1f"
    on_models: bool = True
    theorems: tuple[str, ...] = ()


@dataclass(frozen=True)
class Section(Generic[E]):
    """Claims of one section of the paper, and the evidence that they share.

    Attributes:
        name: the ids' first part.
        title: for the report.
        about: for the report: what was done.
        claims: in the paper's order.
        on_model: gathers the evidence on a model; None where the claims are about no model.
        without_model: gathers the evidence that needs no model, by what stands for the model's name.
        proved: whether the claims are theorems, so that any that does not hold is an error of ours.
    """

    name: str
    title: str
    about: str
    claims: tuple[Claim[E], ...]
    on_model: Callable[[OpenModel, Settings, Progress], E] | None = None
    without_model: Mapping[str, Callable[[Settings], E]] = field(default_factory=dict)
    proved: bool = False

    @property
    def for_models(self) -> tuple[Claim[E], ...]:
        """The claims that are measured on models."""
        return tuple(claim for claim in self.claims if claim.on_models and self.on_model is not None)


Sections = Sequence[Section[Any]]


def select(sections: Sections, prefix: str) -> list[Section[Any]]:
    """The sections with only the claims whose id starts with ``prefix``; empty sections are left out."""
    kept = [
        replace(section, claims=tuple(claim for claim in section.claims if claim.id.startswith(prefix)))
        for section in sections
    ]
    return [section for section in kept if section.claims]


def claims_of(sections: Sections) -> dict[str, tuple[Section[Any], Claim[Any]]]:
    """Every claim by its id, with its section.

    Raises:
        ValueError: two claims with one id, or an id outside its section.
    """
    found: dict[str, tuple[Section[Any], Claim[Any]]] = {}
    for section in sections:
        for claim in section.claims:
            if claim.id in found or not claim.id.startswith(f"{section.name}."):
                raise ValueError(f"the id {claim.id!r} in section {section.name!r} is taken or misnamed")
            found[claim.id] = (section, claim)
    return found
