"""From a measurement to a verdict."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from claims.registry import Claim, Expectation, Measured
from knowedit.intervals import Interval


class Verdict(StrEnum):
    """What a measurement, or a proof, finds about a claim."""

    PROVED = "PROVED"
    """Coq accepted the theorem in this run, and it rests on no axiom."""
    HOLDS = "HOLDS"
    CONTRADICTED = "CONTRADICTED"
    INCONCLUSIVE = "INCONCLUSIVE"
    """The 95 % interval has the bound inside."""
    NOT_MEASURED = "NOT MEASURED"
    """Something that is needed was not there."""
    STALE = "STALE"
    """The evidence is of another version of the editor or the scores; for claims that read finished runs."""
    ERROR = "ERROR"
    """The measurement itself is broken, its control did not fail for instance; never on record."""


@dataclass(frozen=True)
class Result:
    """One claim on one model.

    Attributes:
        claim: its id.
        model: the model's name, `MATRICES`, or file and name of a theorem.
        verdict: what was found.
        measured: the numbers; None where there are none.
        reason: why there are none, or what is wrong with them; else empty.
    """

    claim: str
    model: str
    verdict: Verdict
    measured: Measured | None = None
    reason: str = ""


def judge(value: Interval, expectation: Expectation) -> Verdict:
    """HOLDS if all of the interval keeps the bound, CONTRADICTED if none of it, else INCONCLUSIVE."""
    if expectation.direction == "at least":
        inside, outside = value.low >= expectation.bound, value.high < expectation.bound
    else:
        inside, outside = value.high <= expectation.bound, value.low > expectation.bound
    if inside:
        return Verdict.HOLDS
    return Verdict.CONTRADICTED if outside else Verdict.INCONCLUSIVE


def assess(claim: Claim[Any], model: str, measured: Measured) -> Result:
    """The verdict of a measurement, which counts only if its control missed the expectation clearly."""
    complaint = _broken(claim, measured)
    verdict = Verdict.ERROR if complaint else judge(measured.value, claim.expectation)
    return Result(claim.id, model, verdict, measured, complaint)


def _broken(claim: Claim[Any], measured: Measured) -> str:
    for name, found in (("measurement", measured.value), ("control", measured.control)):
        if math.isnan(found.mean + found.low + found.high):
            return f"the {name} is not a number: find out which record it comes from"
    verdict = judge(measured.control, claim.expectation)
    if verdict is Verdict.CONTRADICTED:
        return ""
    how = (
        "keeps the bound" if verdict is Verdict.HOLDS else "is not clearly outside the bound, take more facts"
    )
    return (
        f"control did not fail: {claim.control} gives {measured.control.mean:.4g} and {how} "
        f"({claim.expectation.direction} {claim.expectation.bound:g}), so keeping the bound shows nothing"
    )
