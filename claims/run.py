"""Measure claims on the matrices and on one model after the other; no verdict is lost to an error."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from claims.models import Missing, model_name, one_line, open_model
from claims.registry import MATRICES, Claim, Measured, Progress, Section, Sections
from claims.settings import Settings
from claims.verdicts import Result, Verdict, assess


def on_matrices(sections: Sections, settings: Settings) -> list[Result]:
    """The results that need no model."""
    results: list[Result] = []
    for section in sections:
        if section.on_matrices is not None:
            results += _measured(section.claims, MATRICES, partial(section.on_matrices, settings))
    return results


def on_model(source: str, sections: Sections, settings: Settings, progress: Progress) -> list[Result]:
    """The results on one model; if it cannot be opened, each of its claims says why."""
    name = model_name(source)
    wanted = [(section, claims) for section in sections if (claims := _for_models(section))]
    try:
        model = open_model(source, settings)
    except Exception as error:
        return [_without(claim, name, error) for _, claims in wanted for claim in claims]
    results: list[Result] = []
    for section, claims in wanted:
        results += _measured(claims, name, partial(section.on_model, model, settings, progress))
    return results


def _for_models(section: Section[Any]) -> tuple[Claim[Any], ...]:
    return tuple(claim for claim in section.claims if claim.on_models)


def _measured(claims: tuple[Claim[Any], ...], name: str, gather: Callable[[], Any]) -> Iterator[Result]:
    try:
        evidence = gather()
    except Exception as error:
        yield from (_without(claim, name, error) for claim in claims)
        return
    for claim in claims:
        yield _judged(claim, name, evidence)


def _judged(claim: Claim[Any], name: str, evidence: Any) -> Result:
    try:
        measured: Measured = claim.measure(evidence)
    except Exception as error:
        return _without(claim, name, error)
    return assess(claim, name, measured)


def _without(claim: Claim[Any], name: str, error: Exception) -> Result:
    if isinstance(error, Missing):
        return Result(claim.id, name, Verdict.NOT_MEASURED, reason=str(error))
    traceback.print_exception(error)
    return Result(claim.id, name, Verdict.ERROR, reason=f"{type(error).__name__}: {one_line(error)}")
