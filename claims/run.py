"""Measure claims on the matrices and on one model after the other; no verdict is lost to an error."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from claims import coq
from claims.models import Missing, Stale, model_name, one_line, open_model
from claims.registry import DATA, MATRICES, Claim, Measured, Progress, Section, Sections
from claims.settings import Settings
from claims.verdicts import Result, Verdict, assess


def on_matrices(sections: Sections, settings: Settings) -> list[Result]:
    """The results that need no model."""
    results: list[Result] = []
    for section in sections:
        if section.on_matrices is not None:
            results += _measured(section.claims, MATRICES, partial(section.on_matrices, settings))
    return results


def on_data(sections: Sections, settings: Settings) -> list[Result]:
    """The results about the data set."""
    results: list[Result] = []
    for section in sections:
        if section.on_data is not None:
            results += _measured(section.claims, DATA, partial(section.on_data, settings))
    return results


def proofs(sections: Sections) -> list[Result]:
    """Every theorem of the claims, as Coq finds it now; nothing is compiled where no claim has one."""
    stated = [(claim.id, name) for section in sections for claim in section.claims for name in claim.theorems]
    if not stated:
        return []
    try:
        accepted, verdict, reason = coq.check().theorems, Verdict.ERROR, "there is no such theorem"
    except coq.Absent as missing:
        accepted, verdict, reason = (), Verdict.NOT_MEASURED, str(missing)
    except coq.Unproved as error:
        accepted, verdict, reason = (), Verdict.ERROR, one_line(error)
    return [
        Result(claim, name, Verdict.PROVED)
        if name in accepted
        else Result(claim, name, verdict, reason=reason)
        for claim, name in stated
    ]


def on_model(source: str, sections: Sections, settings: Settings, progress: Progress) -> list[Result]:
    """The results on one model; if it cannot be opened, each of its claims says why."""
    name = model_name(source)
    wanted = [(section, claims) for section in sections if (claims := for_models(section))]
    try:
        model = open_model(source, settings)
    except Exception as error:
        return without(name, [claim for _, claims in wanted for claim in claims], error)
    results: list[Result] = []
    for section, claims in wanted:
        results += _measured(claims, name, partial(section.on_model, model, settings, progress))
    return results


def for_models(section: Section[Any]) -> tuple[Claim[Any], ...]:
    """The claims that are measured on models."""
    return tuple(claim for claim in section.claims if claim.on_models)


def _measured(claims: Sequence[Claim[Any]], name: str, gather: Callable[[], Any]) -> list[Result]:
    try:
        evidence = gather()
    except Exception as error:
        return without(name, claims, error)
    return [_judged(claim, name, evidence) for claim in claims]


def _judged(claim: Claim[Any], name: str, evidence: Any) -> Result:
    try:
        measured: Measured = claim.measure(evidence)
    except Exception as error:
        return without(name, [claim], error)[0]
    return assess(claim, name, measured)


def without(name: str, claims: Sequence[Claim[Any]], error: Exception) -> list[Result]:
    """The results of claims that an error kept from being measured; what is neither `Missing` nor `Stale` is ours."""
    if isinstance(error, Missing | Stale):
        verdict = Verdict.STALE if isinstance(error, Stale) else Verdict.NOT_MEASURED
        return [Result(claim.id, name, verdict, reason=str(error)) for claim in claims]
    traceback.print_exception(error)
    reason = f"{type(error).__name__}: {one_line(error)}"
    return [Result(claim.id, name, Verdict.ERROR, reason=reason) for claim in claims]
