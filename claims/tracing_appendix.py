"""Appendix B: causal tracing in other models and facts, of single modules and of edited facts.

Effects and bounds are those of `claims.tracing`; the claims are in its section of the report.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from claims.maps import (
    BEFORE,
    CLEAR,
    SITES,
    Array,
    Evidence,
    Maps,
    early,
    elsewhere,
    estimate,
    first_quarter,
    last_quarter,
    peak,
)
from claims.models import Missing
from claims.registry import Claim, Expectation, Measured
from knowedit.intervals import Interval
from knowedit.tracing import Role

NEGLIGIBLE = 10.0
"""Per cent of the total effect."""
DECISIVE = 0.05
"""By which share of the total effect one token has to beat another to be called more decisive in one fact."""


def single_modules(evidence: Evidence) -> Measured:
    def best(*kinds: str) -> Interval:
        return evidence.read(lambda maps: _best(maps, kinds), *kinds)

    kinds = ("single mlp", "single attention")
    rows = ", ".join(f"{kind} at the {role} {evidence.best(kind, role)}" for kind in kinds for role in SITES)
    return Measured(best(*kinds), best("mlp", "attention"), rows)


def _best(maps: Maps, kinds: Sequence[str]) -> Array:
    return np.asarray(np.stack([elsewhere(maps[kind], ()) for kind in kinds]).max(axis=0))


def first_attention(evidence: Evidence) -> Measured:
    layers = evidence.n_layers

    def number(part: range) -> Interval:
        return evidence.read(lambda maps: peak(maps["attention"], Role.LAST_SUBJECT, part), "attention")

    first = number(first_quarter(layers))
    if evidence.family != "gptj":
        raise Missing(
            f"the claim sets GPT-J apart; in this model, of family {evidence.family}, it is {first.mean:.1f} % "
            f"[{first.low:.1f}, {first.high:.1f}] of the total effect"
        )
    return Measured(first, number(last_quarter(layers)))


def exceptions(evidence: Evidence) -> Measured:
    texts = evidence.texts
    threshold = DECISIVE * (texts.clean - texts.corrupted)
    own, other, before = texts.decisive.T

    def share(values: Array) -> Interval:
        # NaN, for no such token, is above no number: no exception
        return Interval.wilson(int((values > np.maximum(own, 0) + threshold).sum()), len(values)).scaled(100)

    return Measured(share(other), share(before))


def after_edit(evidence: Evidence) -> Measured:
    same = _early_site(evidence, "unedited", Role.LAST_SUBJECT)
    note = (
        f"the unedited model, traced for the new object: {same.mean:.1f} % [{same.low:.1f}, {same.high:.1f}]"
    )
    found, control = (_early_site(evidence, "edited", role) for role in (Role.LAST_SUBJECT, Role.BEFORE))
    return Measured(found, control, note)


def after_attention_edit(evidence: Evidence) -> Measured:
    if "edited by attention" not in evidence.edited:
        raise Missing(
            "no settings of AttnEdit are known for this model: find them with knowedit sweep --method attn-edit --keep"
        )
    found, control = (
        _early_site(evidence, kind, Role.LAST_SUBJECT) for kind in ("edited by attention", "edited")
    )
    total = 100 * float(evidence.edited["edited by attention"].total.mean())
    return Measured(found, control, f"total effect {total:.1f} %")


def _early_site(evidence: Evidence, kind: str, role: Role) -> Interval:
    """The best early layer of a role, minus the best of all other tokens but the last."""

    def statistic(maps: Maps) -> Array:
        found = maps[kind]
        return peak(found, role, early(found.shape[2])) - elsewhere(found, (role, Role.LAST))

    return estimate({kind: evidence.edited[kind]}, statistic, evidence.rng())


CLAIMS: tuple[Claim[Evidence], ...] = (
    Claim(
        id="trace.single-module-negligible",
        place="Appendix B",
        statement="Restoring one single MLP or attention output does little.",
        quantity="indirect effect of the best single module anywhere",
        unit="%",
        paper="generally negligible",
        expectation=Expectation("at most", NEGLIGIBLE),
        control="windows of modules",
        measure=single_modules,
    ),
    Claim(
        id="trace.gpt-j",
        place="Figure 9",
        statement="In GPT-J the attention of the first layers at the last subject token matters too.",
        quantity="indirect effect of the best attention window in the first quarter of the layers there",
        unit="%",
        paper="not given",
        expectation=Expectation("at least", CLEAR),
        control="the last quarter of the layers",
        measure=first_attention,
    ),
    Claim(
        id="trace.exceptions",
        place="Figures 11, 12 f-j",
        statement="The last subject token is not always the decisive one.",
        quantity="share of facts in which an early state of a token other than the last has a clearly larger indirect "
        "effect",
        unit="%",
        paper="> 0 (examples)",
        expectation=Expectation("at least", 5.0),
        control="tokens before the subject",
        measure=exceptions,
    ),
    Claim(
        id="trace.after-edit",
        place="Figure 7 d",
        statement="A fact that ROME put there has an early site at the last subject token.",
        quantity="indirect effect of the best early layer there, minus the best of all tokens but the last",
        unit="%",
        paper="not given",
        expectation=Expectation("at least", CLEAR),
        control=BEFORE,
        measure=after_edit,
    ),
    Claim(
        id="trace.after-attention-edit",
        place="Figure 7 e",
        statement="A fact that AttnEdit put there has no early site.",
        quantity="as for trace.after-edit",
        unit="%",
        paper="not given",
        expectation=Expectation("at most", CLEAR),
        control="a fact that ROME put there",
        measure=after_attention_edit,
    ),
)
