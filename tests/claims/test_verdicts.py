"""Every verdict can be reached, and a measurement without a failing control counts for nothing."""

import math
from dataclasses import replace

import pytest

from claims.registry import Direction, Expectation, Measured
from claims.verdicts import Verdict, assess, judge
from knowedit.intervals import Interval
from tests.claims.fakes import around, fake_claim

JUDGED: dict[str, tuple[Direction, float, float, Verdict]] = {
    "above": ("at least", 95.0, 1.0, Verdict.HOLDS),
    "just inside": ("at least", 91.0, 1.0, Verdict.HOLDS),
    "straddling": ("at least", 90.5, 1.0, Verdict.INCONCLUSIVE),
    "straddling from below": ("at least", 89.5, 1.0, Verdict.INCONCLUSIVE),
    "below": ("at least", 88.0, 1.0, Verdict.CONTRADICTED),
    "just outside": ("at least", 88.999, 1.0, Verdict.CONTRADICTED),
    "exact and on the bound": ("at least", 90.0, 0.0, Verdict.HOLDS),
    "exact and below": ("at least", 89.9, 0.0, Verdict.CONTRADICTED),
    "at most, below": ("at most", 88.0, 1.0, Verdict.HOLDS),
    "at most, straddling": ("at most", 90.5, 1.0, Verdict.INCONCLUSIVE),
    "at most, above": ("at most", 95.0, 1.0, Verdict.CONTRADICTED),
    "at most, exact and on the bound": ("at most", 90.0, 0.0, Verdict.HOLDS),
}


@pytest.mark.parametrize(("direction", "mean", "half", "verdict"), JUDGED.values(), ids=JUDGED.keys())
def test_judging_an_interval(direction: Direction, mean: float, half: float, verdict: Verdict) -> None:
    assert judge(around(mean, half), Expectation(direction, 90.0)) is verdict


@pytest.mark.parametrize(
    ("value", "verdict"),
    [(95.0, Verdict.HOLDS), (90.0, Verdict.INCONCLUSIVE), (50.0, Verdict.CONTRADICTED)],
)
def test_a_measurement_with_a_failing_control_is_judged(value: float, verdict: Verdict) -> None:
    found = assess(fake_claim(), "m", Measured(around(value), around(5.0)))
    assert (found.claim, found.model, found.verdict, found.reason) == ("fake.holds", "m", verdict, "")


@pytest.mark.parametrize(
    ("control", "why"), [(around(99.0), "keeps the bound"), (around(90.0), "not clearly outside")]
)
def test_a_control_that_does_not_fail_is_an_error(control: Interval, why: str) -> None:
    found = assess(fake_claim(), "m", Measured(around(99.0), control))
    assert found.verdict is Verdict.ERROR
    assert found.reason.startswith("control did not fail: doing it wrong gives")
    assert why in found.reason


@pytest.mark.parametrize("broken", ["value", "control"])
def test_nan_is_an_error_and_never_a_verdict(broken: str) -> None:
    nan = Interval(math.nan, math.nan, math.nan, 3)
    good = Measured(around(95.0), around(5.0))
    bad = replace(good, value=nan) if broken == "value" else replace(good, control=nan)
    found = assess(fake_claim(), "m", bad)
    assert found.verdict is Verdict.ERROR
    assert "not a number" in found.reason
