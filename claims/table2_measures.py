"""What the claims about Table 2 and about knowing and saying read off the means; all in Table 2's scale."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from claims.models import Missing
from claims.registry import Measured
from claims.run_evidence import ASKED, REPEATED, Array, Evidence, Means
from knowedit.evaluation.runs.tables import F1_BELOW, F2_LOSS, UNEDITED

ROME: Final = "rome"
FT: Final = "ft"
FT_L: Final = "ft+l"
ATTN: Final = "attn-edit"
BASELINES: Final = (FT, FT_L)

RATIO: Final = 0.75
"""Between "about half" of ROME's generalisation and all of it."""
FLUENT: Final = 5.0
"""Per cent of the unedited GE."""
COLLAPSE: Final = 10.0
"""Per cent of the unedited GE."""
RAISE: Final = 10.0
"""Per cent of the unedited RS."""
RECITES: Final = 80.0
"""ES, in per cent."""


def least(*margins: Array) -> Array:
    """The smallest margin, in each resample."""
    found: Array = np.minimum.reduce(margins)
    return found


def generalises(means: Means, method: str) -> Array:
    """How far PS is above the bound of F1."""
    return means(method, "PS") - F1_BELOW


def specific(means: Means, method: str) -> Array:
    """How far the loss of NS is below the bound of F2."""
    return F2_LOSS + means.change(method, "NS")


def neither(means: Means, method: str) -> Array:
    """The distance from the nearer failure, negative where there is one."""
    return least(generalises(means, method), specific(means, method))


def _measured(evidence: Evidence, quantity: Array, control: Array, *notes: str) -> Measured:
    means = evidence.means
    note = ". ".join(part for part in (*notes, evidence.provenance) if part)
    return Measured(means.interval(quantity), means.interval(control), note)


def _told(means: Means, column: str, methods: Sequence[str], digits: int = 1) -> str:
    """For instance ``PS: none 24.7, rome 88.6``."""
    return f"{column}: " + ", ".join(f"{name} {means(name, column)[0]:.{digits}f}" for name in methods)


def avoids_both(evidence: Evidence) -> Measured:
    means, all_methods = evidence.means, (UNEDITED, ROME, *BASELINES)

    def quantity(in_place: str) -> Array:
        return least(neither(means, in_place), *(-neither(means, name) for name in BASELINES))

    return _measured(
        evidence,
        quantity(ROME),
        quantity(UNEDITED),
        _told(means, "PS", all_methods),
        _told(means, "NS", all_methods),
    )


def ft_bleeds(evidence: Evidence) -> Measured:
    means = evidence.means

    def quantity(in_place: str) -> Array:
        return least(generalises(means, in_place), -specific(means, in_place))

    notes = (_told(means, column, (UNEDITED, FT)) for column in ("PS", "NS"))
    return _measured(evidence, quantity(FT), quantity(ROME), *notes)


def ftl_does_not_generalise(evidence: Evidence) -> Measured:
    means = evidence.means

    def quantity(in_place: str) -> Array:
        behind = RATIO * means(ROME, "PS") - means(in_place, "PS")
        return least(specific(means, in_place), -generalises(means, in_place), behind)

    notes = (_told(means, column, (UNEDITED, ROME, FT_L)) for column in ("PS", "NS"))
    return _measured(evidence, quantity(FT_L), quantity(ROME), *notes)


def fluency(evidence: Evidence) -> Measured:
    means = evidence.means
    return _measured(
        evidence,
        np.abs(means.relative(ROME, "GE")),
        np.abs(means.relative(REPEATED, "GE")),
        _told(means, "GE", (UNEDITED, ROME, *BASELINES)),
    )


def lead(means: Means, method: str, column: str, rivals: Sequence[str]) -> Array:
    """How far a method is above the best of the others."""
    return least(*(means(method, column) - means(other, column) for other in rivals if other != method))


def consistency(evidence: Evidence) -> Measured:
    means, rivals = evidence.means, (UNEDITED, ROME, *BASELINES)
    return _measured(
        evidence,
        lead(means, ROME, "RS", rivals),
        lead(means, UNEDITED, "RS", rivals),
        _told(means, "RS", rivals),
    )


def essence(evidence: Evidence) -> Measured:
    means = evidence.means

    def quantity(most: str) -> Array:
        rome = means.relative(ROME, "Essence")
        return least(means.relative(most, "Essence") - rome, rome - means.relative(FT_L, "Essence"))

    told = _told(means, "Essence", (UNEDITED, ROME, *BASELINES), 2)
    return _measured(evidence, quantity(FT), quantity(UNEDITED), told)


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
    told = f"not found: {', '.join(missed) or 'none'}"
    if evidence.family != "gptj":
        raise Missing(
            f"the claim is about GPT-J; in this model, of family {evidence.family}, {count[0]:.0f} of "
            f"{len(STATEMENTS)} statements hold; {told}"
        )
    return _measured(evidence, count, statements(means, UNEDITED).sum(0).astype(np.float64), told)


def both_recite(evidence: Evidence) -> Measured:
    means = evidence.means

    def quantity(rome: str, attn: str) -> Array:
        first, second = means(rome, "ES"), means(attn, "ES")
        return least(first - RECITES, second - RECITES, first - second)

    told = _told(means, "ES", (UNEDITED, ROME, ATTN))
    return _measured(evidence, quantity(ROME, ATTN), quantity(UNEDITED, UNEDITED), told)


def both_specific(evidence: Evidence) -> Measured:
    means = evidence.means

    def quantity(column: str) -> Array:
        return least(means.change(ROME, column), means.change(ATTN, column))

    told = _told(means, "NS", (UNEDITED, ROME, ATTN))
    return _measured(evidence, quantity("NS"), quantity(ASKED), told)


def attention_does_not_generalise(evidence: Evidence) -> Measured:
    means = evidence.means

    def quantity(attn: str) -> Array:
        return least(generalises(means, ROME), -generalises(means, attn))

    notes = (_told(means, column, (UNEDITED, ROME, ATTN)) for column in ("PS", "PM"))
    return _measured(evidence, quantity(ATTN), quantity(ROME), *notes)


def only_rome_is_consistent(evidence: Evidence) -> Measured:
    means = evidence.means

    def quantity(rome: str) -> Array:
        return least(
            means.relative(rome, "RS") - RAISE,
            RAISE - means.relative(ATTN, "RS"),
            FLUENT - np.abs(means.relative(rome, "GE")),
        )

    notes = (_told(means, column, (UNEDITED, ROME, ATTN)) for column in ("RS", "GE"))
    return _measured(evidence, quantity(ROME), quantity(UNEDITED), *notes)
