"""Measure claims without a model and on models; no verdict is lost to an error."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from claims import coq
from claims.models import Missing, model_name, one_line, open_model
from claims.registry import Claim, Measured, Progress, Sections
from claims.settings import Settings
from claims.verdicts import Result, Verdict, assess
from knowedit.evaluation import Stale
from knowedit.runs import WorkerDied, Workers, open_pool

Watch = Callable[[str, tuple[int, int]], None]
"""Called with a model's source, and the steps done and all steps."""


def without_models(sections: Sections, settings: Settings) -> list[Result]:
    """The results that need no model: of random matrices and of the data set."""
    results: list[Result] = []
    for section in sections:
        for name, gather in section.without_model.items():
            results += _measured(section.claims, name, partial(gather, settings))
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


@dataclass(frozen=True)
class OnModels:
    """All claims on one model after the other: a job of `knowedit.runs`, and its station.

    Attributes:
        sections: what is measured.
        settings: how.
    """

    sections: Sections
    settings: Settings

    def open(self) -> OnModels:
        """Nothing is shared between models."""
        return self

    @property
    def identity(self) -> dict[str, Any]:
        """The settings."""
        return self.settings.as_json()

    def measure(self, source: str, tell: Callable[[tuple[int, int]], None], /) -> list[Result]:
        """The results on one model."""
        return on_model(source, self.sections, self.settings, lambda done, of: tell((done, of)))

    def check(self) -> None:
        """Each section has checked the model that it edited."""


def on_models(
    sources: Sequence[str], sections: Sections, settings: Settings, workers: Workers, watch: Watch
) -> list[Result]:
    """The results on all models, in their order; where the workers died they are errors."""
    if not sources or not any(section.for_models for section in sections):
        return []
    found: dict[str, list[Result]] = {}
    with open_pool(OnModels(sections, settings), workers, len(sources)) as pool:
        for source, results in pool.measure(sources, watch):
            found[source] = _died(source, sections, results) if isinstance(results, WorkerDied) else results
    return [result for source in sources for result in found[source]]


def _died(source: str, sections: Sections, died: WorkerDied) -> list[Result]:
    reason = (
        f"{died.reason}: look for an error above; without one it was probably killed because memory ran out"
    )
    claims = [claim for section in sections for claim in section.for_models]
    return [Result(claim.id, model_name(source), Verdict.ERROR, reason=reason) for claim in claims]


def on_model(source: str, sections: Sections, settings: Settings, progress: Progress) -> list[Result]:
    """The results on one model; if it cannot be opened, each of its claims has the reason."""
    name = model_name(source)
    wanted = [section for section in sections if section.for_models]
    try:
        model = open_model(source, settings)
    except Exception as error:
        return without(name, [claim for section in wanted for claim in section.for_models], error)
    results: list[Result] = []
    for section in wanted:
        assert section.on_model is not None
        results += _measured(section.for_models, name, partial(section.on_model, model, settings, progress))
    return results


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
    """The results of claims that an error kept from being measured.

    One that is neither `Missing` nor `Stale` is ours.
    """
    if isinstance(error, Missing | Stale):
        verdict = Verdict.STALE if isinstance(error, Stale) else Verdict.NOT_MEASURED
        return [Result(claim.id, name, verdict, reason=str(error)) for claim in claims]
    traceback.print_exception(error)
    reason = f"{type(error).__name__}: {one_line(error)}"
    return [Result(claim.id, name, Verdict.ERROR, reason=reason) for claim in claims]
