"""Claims that cost nothing: the quantity and its control are what the test says."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from claims.registry import MATRICES, Claim, Expectation, Measured, Section
from knowedit.intervals import Interval

BOUND = 90.0


def around(mean: float, half: float = 1.0) -> Interval:
    return Interval(mean, mean - half, mean + half, 10)


def fake_claim(
    name: str = "holds",
    *,
    value: Interval | None = None,
    control: Interval | None = None,
    measure: Callable[[Any], Measured] | None = None,
    on_models: bool = True,
) -> Claim[Any]:
    found = Measured(value or around(95.0), control or around(5.0), "10.0 % before")
    return Claim(
        id=f"fake.{name}",
        place="Table 9",
        statement="A fake claim holds.",
        quantity="share of fakes",
        unit="%",
        paper="99.9",
        expectation=Expectation("at least", BOUND),
        control="doing it wrong",
        measure=measure or partial(_found, found),
        on_models=on_models,
    )


def fake_section(
    *claims: Claim[Any], proved: bool = False, gather: Callable[..., Any] | None = None
) -> Section[Any]:
    gather = gather or _nothing
    return Section(
        "fake", "Section 9: fakes", "Nothing was done.", claims, gather, {MATRICES: gather}, proved
    )


def _found(found: Measured, _evidence: Any) -> Measured:
    return found


def _nothing(*_given: Any) -> None:
    return


def raising(error: Exception) -> Callable[..., Any]:
    return partial(_raise, error)


def _raise(error: Exception, *given: Any) -> Any:
    raise error
