"""Section 5.3 and Appendix E: knowing and saying; read from finished runs.

Bounds and margins are as in `claims.table2`, and

- "teaches the statement" is ES of at least 80;
- "raises RS" is by at least a tenth: ROME raises it by 29 % in the paper, KN lowers it by 5 %.
"""

from __future__ import annotations

from functools import partial
from typing import Final

import numpy as np

from claims.finished_runs import ABOUT, ASKED, ATTN, ROME, Evidence, gather
from claims.means import FLUENT, Array, generalises, least
from claims.registry import Claim, Expectation, Measured, Section
from knowedit.evaluation.runs.tables import UNEDITED

METHODS: Final = (UNEDITED, ROME, ATTN)

RAISE: Final = 10.0
"""Per cent of the unedited RS."""
RECITES: Final = 80.0
"""ES, in per cent."""


def both_recite(evidence: Evidence) -> Measured:
    means = evidence.means

    def quantity(rome: str, attn: str) -> Array:
        first, second = means(rome, "ES"), means(attn, "ES")
        return least(first - RECITES, second - RECITES, first - second)

    note = means.shown("ES", METHODS)
    return evidence.measured(quantity(ROME, ATTN), quantity(UNEDITED, UNEDITED), note)


def both_specific(evidence: Evidence) -> Measured:
    means = evidence.means

    def quantity(column: str) -> Array:
        return least(means.change(ROME, column), means.change(ATTN, column))

    note = means.shown("NS", METHODS)
    return evidence.measured(quantity("NS"), quantity(ASKED), note)


def attention_does_not_generalise(evidence: Evidence) -> Measured:
    means = evidence.means

    def quantity(attn: str) -> Array:
        return least(generalises(means, ROME), -generalises(means, attn))

    notes = (means.shown(column, METHODS) for column in ("PS", "PM"))
    return evidence.measured(quantity(ATTN), quantity(ROME), *notes)


def only_rome_is_consistent(evidence: Evidence) -> Measured:
    means = evidence.means

    def quantity(rome: str) -> Array:
        return least(
            means.relative(rome, "RS") - RAISE,
            RAISE - means.relative(ATTN, "RS"),
            FLUENT - np.abs(means.relative(rome, "GE")),
        )

    notes = (means.shown(column, METHODS) for column in ("RS", "GE"))
    return evidence.measured(quantity(ROME), quantity(UNEDITED), *notes)


CLAIMS: tuple[Claim[Evidence], ...] = (
    Claim(
        id="knowing.both-recite",
        place="Section 5.3",
        statement="Both ROME and AttnEdit teach the model the statement; AttnEdit fails more often.",
        quantity="the smallest of: ROME's ES above 80, AttnEdit's ES above 80, ROME's above AttnEdit's",
        unit="points",
        paper="> 0 (no numbers)",
        expectation=Expectation("at least", 0.1),
        control="the unedited model in place of both",
        measure=both_recite,
    ),
    Claim(
        id="knowing.both-specific",
        place="Section 5.3",
        statement="Neither ROME nor AttnEdit bleeds over to other subjects.",
        quantity="change of NS, the worse of the two",
        unit="points",
        paper="hardly (ROME in Table 2: −4.0)",
        expectation=Expectation("at least", -10.0),
        control="the request itself in place of the neighborhood prompts",
        measure=both_specific,
    ),
    Claim(
        id="knowing.attention-does-not-generalise",
        place="Section 5.3, Appendix E",
        statement="What AttnEdit teaches does not generalise to paraphrases; what ROME teaches does.",
        quantity="ROME's PS above the bound of F1, or AttnEdit's below it if that is smaller",
        unit="points",
        paper="8.6 (AttnEdit: about 50 %)",
        expectation=Expectation("at least", 0.0),
        control="ROME in place of AttnEdit",
        measure=attention_does_not_generalise,
    ),
    Claim(
        id="knowing.consistency",
        place="Section 5.3",
        statement="Only ROME makes generated text more consistent with the new fact, and it keeps the fluency.",
        quantity="the smallest of: ROME's raise of RS above 10 %, AttnEdit's below it, ROME's change of GE below 5 %",
        unit="%",
        paper="4.8 (GPT-2 XL; AttnEdit: no numbers)",
        expectation=Expectation("at least", 0.0),
        control="the unedited model in place of ROME",
        measure=only_rome_is_consistent,
    ),
)

SECTION = Section(
    name="knowing",
    title="Section 5.3 and Appendix E: knowing and saying",
    about=ABOUT,
    claims=CLAIMS,
    on_model=partial(gather, METHODS),
)
