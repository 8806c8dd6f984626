"""Section 5.2: Table 2, read from finished runs.

The bounds were set from the paper's numbers, before the runs. A claim of several parts is measured by the smallest
of their margins, in points of Table 2, so that it holds only where every part does:

- F1, "does not generalise", is PS below 80, and F2, "bleeds over", is NS more than 10 points below the unedited
  model, as in `knowedit table`;
- "about half of ROME's PS" is at most three quarters of it;
- "GE within a point or so" is finer than 200 records can tell. The bound is 5 %: ROME changes GE by 0.2 % in the
  paper, and the least of the editors that lose fluency (KE) by 6 %. "Collapse" is a loss of at least 10 %, where
  those of the paper lose 38 %.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final

import numpy as np

from claims.finished_runs import ABOUT, FT, FT_L, REPEATED, ROME, Evidence, gather
from claims.means import FLUENT, Array, Means, generalises, least, specific
from claims.models import Missing
from claims.registry import Claim, Expectation, Measured, Section
from knowedit.evaluation.runs.tables import UNEDITED

BASELINES: Final = (FT, FT_L)
METHODS: Final = (UNEDITED, ROME, *BASELINES)
NOT_EDITED: Final = "the unedited model in place of ROME"

RATIO: Final = 0.75
"""Between "about half" of ROME's generalisation and all of it."""
COLLAPSE: Final = 10.0
"""Per cent of the unedited GE."""


def neither(means: Means, method: str) -> Array:
    """The distance from the nearer failure, negative where there is one."""
    return least(generalises(means, method), specific(means, method))


def avoids_both(evidence: Evidence) -> Measured:
    means = evidence.means

    def quantity(in_place: str) -> Array:
        return least(neither(means, in_place), *(-neither(means, name) for name in BASELINES))

    return evidence.measured(
        quantity(ROME),
        quantity(UNEDITED),
        means.shown("PS", METHODS),
        means.shown("NS", METHODS),
    )


def ft_bleeds(evidence: Evidence) -> Measured:
    means = evidence.means

    def quantity(in_place: str) -> Array:
        return least(generalises(means, in_place), -specific(means, in_place))

    notes = (means.shown(column, (UNEDITED, FT)) for column in ("PS", "NS"))
    return evidence.measured(quantity(FT), quantity(ROME), *notes)


def ftl_does_not_generalise(evidence: Evidence) -> Measured:
    means = evidence.means

    def quantity(in_place: str) -> Array:
        behind = RATIO * means(ROME, "PS") - means(in_place, "PS")
        return least(specific(means, in_place), -generalises(means, in_place), behind)

    notes = (means.shown(column, (UNEDITED, ROME, FT_L)) for column in ("PS", "NS"))
    return evidence.measured(quantity(FT_L), quantity(ROME), *notes)


def fluency(evidence: Evidence) -> Measured:
    means = evidence.means
    return evidence.measured(
        np.abs(means.relative(ROME, "GE")),
        np.abs(means.relative(REPEATED, "GE")),
        means.shown("GE", METHODS),
    )


def lead(means: Means, method: str, column: str, rivals: Sequence[str]) -> Array:
    """How far a method is above the best of the others."""
    return least(*(means(method, column) - means(other, column) for other in rivals if other != method))


def consistency(evidence: Evidence) -> Measured:
    means = evidence.means
    return evidence.measured(
        lead(means, ROME, "RS", METHODS),
        lead(means, UNEDITED, "RS", METHODS),
        means.shown("RS", METHODS),
    )


def essence(evidence: Evidence) -> Measured:
    means = evidence.means

    def quantity(most: str) -> Array:
        rome = means.relative(ROME, "Essence")
        return least(means.relative(most, "Essence") - rome, rome - means.relative(FT_L, "Essence"))

    note = means.shown("Essence", METHODS, 2)
    return evidence.measured(quantity(FT), quantity(UNEDITED), note)


STATEMENTS: Final = (
    "ROME fails in neither way",
    "FT and FT+L fail in one at least",
    "FT bleeds over",
    "FT collapses in fluency",
    "FT+L does not generalise",
    "ROME has the best RS",
    "ROME has the best NS of the edited models",
    "FT generalises better than ROME",
    "ROME's essence drifts most",
)


def statements(means: Means, rome: str = ROME) -> Array:
    """Which of `STATEMENTS` hold, ``(statements, 1 + resamples)``."""
    edited = (rome, *BASELINES)
    drift = {name: np.abs(means.change(name, "Essence")) for name in edited}
    return np.stack(
        [
            neither(means, rome) >= 0,
            np.all([neither(means, name) < 0 for name in BASELINES], axis=0),
            specific(means, FT) < 0,
            means.relative(FT, "GE") <= -COLLAPSE,
            generalises(means, FT_L) < 0,
            lead(means, rome, "RS", (UNEDITED, *edited)) > 0,
            lead(means, rome, "NS", edited) > 0,
            means(FT, "PS") > means(rome, "PS"),
            np.all([drift[rome] > drift[name] for name in BASELINES], axis=0),
        ]
    )


def gpt_j(evidence: Evidence) -> Measured:
    means = evidence.means
    found = statements(means)
    count = found.sum(0).astype(np.float64)
    missed = [name for name, holds in zip(STATEMENTS, found[:, 0], strict=True) if not holds]
    note = f"not found: {', '.join(missed) or 'none'}"
    if evidence.family != "gptj":
        raise Missing(
            f"the claim is about GPT-J; in this model, of family {evidence.family}, {count[0]:.0f} of "
            f"{len(STATEMENTS)} statements hold; {note}"
        )
    return evidence.measured(count, statements(means, UNEDITED).sum(0).astype(np.float64), note)


CLAIMS: tuple[Claim[Evidence], ...] = (
    Claim(
        id="table2.rome-avoids-both",
        place="Table 2",
        statement="ROME generalises and does not bleed over; FT and FT+L fail in one of the two at least.",
        quantity="ROME's distance from the nearer failure, or the failure of the better baseline if that is smaller",
        unit="points",
        paper="6.0 (GPT-2 XL), 6.4 (GPT-J)",
        expectation=Expectation("at least", 0.0),
        control=NOT_EDITED,
        measure=avoids_both,
    ),
    Claim(
        id="table2.ft-f2",
        place="Table 2",
        statement="FT generalises and bleeds over (F2).",
        quantity="PS above the bound of F1, or the loss of NS above that of F2 if that is smaller",
        unit="points",
        paper="7.9 (GPT-2 XL), 16.6 (GPT-J)",
        expectation=Expectation("at least", 0.0),
        control="ROME in place of FT",
        measure=ft_bleeds,
    ),
    Claim(
        id="table2.ftl-f1",
        place="Table 2",
        statement="FT+L is specific and does not generalise (F1): its PS is far below ROME's.",
        quantity="the smallest of: NS above the bound of F2, PS below that of F1, PS below three quarters of ROME's",
        unit="points",
        paper="2.2 (GPT-2 XL), 5.6 (GPT-J)",
        expectation=Expectation("at least", 0.0),
        control="ROME in place of FT+L",
        measure=ftl_does_not_generalise,
    ),
    Claim(
        id="table2.fluency",
        place="Table 2, GE",
        statement="ROME hardly changes the fluency of generated text.",
        quantity="change of GE, in either direction, as a share of the unedited model's",
        unit="%",
        paper="0.2 (GPT-2 XL), 0.0 (GPT-J)",
        expectation=Expectation("at most", FLUENT),
        control="text that repeats the new object",
        measure=fluency,
    ),
    Claim(
        id="table2.consistency",
        place="Table 2, RS",
        statement="Text that ROME's models write is the most consistent with the new fact.",
        quantity="ROME's RS above the best of the unedited model, FT and FT+L",
        unit="points",
        paper="0.5 (GPT-2 XL), 6.1 (GPT-J)",
        expectation=Expectation("at least", 0.0),
        control=NOT_EDITED,
        measure=consistency,
    ),
    Claim(
        id="table2.essence",
        place="Table 2, Essence",
        statement="The essence of the subject drifts less under ROME than under FT, and least under FT+L.",
        quantity="the smaller step of the drifts of FT+L, ROME and FT in this order, in shares of the perplexity",
        unit="%",
        paper="7.0 (GPT-2 XL); on GPT-J ROME drifts most",
        expectation=Expectation("at least", 0.0),
        control="the unedited model in place of FT",
        measure=essence,
    ),
    Claim(
        id="table2.gpt-j",
        place="Table 2, GPT-J",
        statement="On GPT-J: " + "; ".join(STATEMENTS) + ".",
        quantity="how many of these statements hold",
        unit="",
        paper=f"{len(STATEMENTS)}",
        expectation=Expectation("at least", len(STATEMENTS)),
        control=NOT_EDITED,
        measure=gpt_j,
        digits=".0f",
    ),
)

SECTION = Section(
    name="table2",
    title="Section 5.2: editors compared (Table 2)",
    about=ABOUT,
    claims=CLAIMS,
    on_model=partial(gather, METHODS),
)
