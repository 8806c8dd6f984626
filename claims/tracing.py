"""Section 3: where causal tracing finds a fact.

Every indirect effect (restored minus corrupted probability) is a share of the total effect (clean minus corrupted),
because small models that know all their facts lose more by corruption than GPT-2 XL does. The paper's numbers are
turned into such shares: with 27.0 % clean and 8.47 % corrupted, 15.0 % restored is 35 % of the total effect. The bounds
follow from the paper's statements:

- "best at" means above every other token: at least 0 after the best other token is taken off;
- "decisive" and "leaves a site" mean clearly above: at least `CLEAR`;
- "systematic" means at least half of the paper's share;
- "negligible" means at most 10 %.

Depth is relative too: an early site is one before the last quarter of the layers.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from claims import tracing_appendix
from claims.maps import (
    BEFORE,
    CLEAR,
    ROLES,
    SITES,
    Array,
    Effects,
    Evidence,
    Maps,
    early,
    elsewhere,
    estimate,
    first_quarter,
    late,
    peak,
    third_quarter,
)
from claims.models import Missing
from claims.registry import Claim, Expectation, Measured, Section
from claims.tracing_evidence import gather
from knowedit.intervals import Interval
from knowedit.tracing import Role

HALF = 17.6
"""Half of (15.0 - 8.47) / (27.0 - 8.47), in per cent."""


def corruption(evidence: Evidence) -> Measured:
    texts = evidence.texts
    has = ~np.isnan(texts.outside)
    share = partial(_kept, rng=evidence.rng)
    return Measured(
        share(texts.corrupted, texts.clean),
        share(texts.outside[has], texts.clean[has]),
        f"{100 * texts.clean.mean():.1f} % clean, {100 * texts.corrupted.mean():.1f} % corrupted; "
        f"the control has {has.sum()} prompts with a token before the subject",
    )


def _kept(corrupted: Array, clean: Array, rng: Callable[[], np.random.Generator]) -> Interval:
    """Corrupted in per cent of clean: as a map of one cell, of which the clean probability is the whole."""
    effects = {"text": Effects(corrupted[:, None, None], clean)}
    return estimate(effects, lambda maps: maps["text"][:, 0, 0], rng())


def sites(maps: Array, early_role: Role = Role.LAST_SUBJECT) -> Array:
    """The weaker of the early and the late site, minus the best place at any other token."""
    layers = maps.shape[2]
    both = np.minimum(peak(maps, early_role, early(layers)), peak(maps, Role.LAST, late(layers)))
    return np.asarray(both - elsewhere(maps, (early_role, Role.LAST)))


def two_sites(evidence: Evidence, kind: str = "hidden") -> Measured:
    def number(role: Role) -> Interval:
        return evidence.read(lambda maps: sites(maps[kind], role), kind)

    layers = evidence.n_layers
    note = (
        f"early site {evidence.best(kind, Role.LAST_SUBJECT, early(layers))}, "
        f"late site {evidence.best(kind, Role.LAST, late(layers))}, "
        f"elsewhere at most {elsewhere(evidence.whole(kind)[kind], SITES)[0]:.1f} %"
    )
    return Measured(number(Role.LAST_SUBJECT), number(Role.BEFORE), note)


def last_state(evidence: Evidence) -> Measured:
    """An identity for answers of one token; the further tokens of others are read elsewhere than at the last token."""
    whole, one = evidence.known["hidden"], evidence.texts.one_token

    def number(role: Role, facts: NDArray[np.bool_]) -> Interval:
        chosen = {"hidden": Effects(whole.indirect[facts], whole.total[facts])}
        return estimate(chosen, lambda maps: maps["hidden"][:, ROLES.index(role), -1], evidence.rng())

    note = f"{one.sum()} of {len(one)} answers are one token"
    if (~one).sum() > 1:
        note += f"; of the others it restores {number(Role.LAST, ~one).mean:.1f} %"
    return Measured(number(Role.LAST, one), number(Role.LAST_SUBJECT, one), note)


def early_site(evidence: Evidence) -> Measured:
    def number(role: Role) -> Interval:
        return evidence.read(
            lambda maps: peak(maps["hidden"], role, early(maps["hidden"].shape[2])), "hidden"
        )

    texts = evidence.texts
    own = 100 * texts.decisive[:, 0].mean() / (texts.clean - texts.corrupted).mean()
    note = (
        f"best {evidence.best('hidden', Role.LAST_SUBJECT, early(evidence.n_layers))}; "
        f"the average over texts of each text's best is {own:.1f} %"
    )
    return Measured(number(Role.LAST_SUBJECT), number(Role.BEFORE), note)


def best_at(evidence: Evidence, kind: str, site: Role) -> Measured:
    """How far the best layer at ``site`` is above the best at any other token."""

    def lead(role: Role) -> Interval:
        return evidence.read(lambda maps: peak(maps[kind], role) - elsewhere(maps[kind], (role,)), kind)

    rows = ", ".join(f"{role} {evidence.best(kind, role)}" for role in SITES)
    return Measured(lead(site), lead(Role.BEFORE), rows)


def mlp_site(evidence: Evidence) -> Measured:
    return best_at(evidence, "mlp", Role.LAST_SUBJECT)


def attention_site(evidence: Evidence) -> Measured:
    return best_at(evidence, "attention", Role.LAST)


def mediation(evidence: Evidence) -> Measured:
    def gap(role: Role) -> Interval:
        def number(maps: Maps) -> Array:
            low, high = _kept_effects(maps, "without mlp", role)
            return high - low

        return evidence.read(number, "hidden", "without mlp")

    def words(kind: str) -> str:
        low, high = (float(kept[0]) for kept in _kept_effects(evidence.whole("hidden", kind), kind))
        return f"{low:.0f} % of the effect is kept in the first quarter, {high:.0f} % in the third"

    note = f"without the MLPs {words('without mlp')}; without attention {words('without attention')}"
    return Measured(gap(Role.LAST_SUBJECT), gap(Role.LAST), note)


def _kept_effects(maps: Maps, kind: str, role: Role = Role.LAST_SUBJECT) -> tuple[Array, Array]:
    """Of a token's effect in low and in high layers, how much severing leaves; per cent."""
    whole, severed = (maps[name][:, ROLES.index(role)] for name in ("hidden", kind))
    parts = (first_quarter(whole.shape[1]), third_quarter(whole.shape[1]))
    low, high = (
        100 * severed[:, part.start : part.stop].sum(1) / whole[:, part.start : part.stop].sum(1)
        for part in parts
    )
    return low, high


def substitution(evidence: Evidence) -> Measured:
    if "substituted" not in evidence.known:
        raise Missing("no subject of the records can replace another: give more --records")
    return two_sites(evidence, "substituted")


CLAIMS: tuple[Claim[Evidence], ...] = (
    Claim(
        id="trace.corruption",
        place="Section 3",
        statement="Corrupting the subject lowers the probability of the correct object to under a third.",
        quantity="mean corrupted over mean clean probability",
        unit="%",
        paper="31 (27.0 to 8.47)",
        expectation=Expectation("at most", 33.3),
        control="the same noise on the token before the subject",
        measure=corruption,
    ),
    Claim(
        id="trace.two-sites",
        place="Figures 1, 3e, 3j",
        statement="Single states are decisive at two sites: early at the last subject token, late at the last token.",
        quantity="indirect effect of the weaker site, minus the best of all other tokens",
        unit="%",
        paper="not given (early site: 35)",
        expectation=Expectation("at least", CLEAR),
        control=BEFORE,
        measure=two_sites,
    ),
    Claim(
        id="trace.last-state-restores",
        place="Figure 1",
        statement="The last layer's state at the last token restores the prediction fully.",
        quantity="indirect effect, of facts with answers of one token",
        unit="%",
        paper="100",
        expectation=Expectation("at least", 99.9),
        control="the last layer's state at the last subject token",
        measure=last_state,
    ),
    Claim(
        id="trace.early-site-systematic",
        place="Figure 3j",
        statement="The early site is systematic: one layer's state at the last subject token restores much on average.",
        quantity="indirect effect of the best early layer",
        unit="%",
        paper="35 (15.0 at layer 15 of 48)",
        expectation=Expectation("at least", HALF),
        control=BEFORE,
        measure=early_site,
    ),
    Claim(
        id="trace.mlp-at-early-site",
        place="Figures 3f, 3k",
        statement="Windows of MLP outputs restore most at the last subject token.",
        quantity="indirect effect of the best window at the last subject token, minus the best of all other tokens",
        unit="%",
        paper="> 0 (best: 35, centre 17 of 48)",
        expectation=Expectation("at least", 0.0),
        control=BEFORE,
        measure=mlp_site,
    ),
    Claim(
        id="trace.attention-at-late-site",
        place="Figures 3g, 3m",
        statement="Windows of attention outputs restore most at the last token.",
        quantity="indirect effect of the best window at the last token, minus the best of all other tokens",
        unit="%",
        paper="> 0 (best: 43, centre 32 of 48)",
        expectation=Expectation("at least", 0.0),
        control="the token before the subject in place of the last token",
        measure=attention_site,
    ),
    Claim(
        id="trace.mlp-mediation",
        place="Figure 4",
        statement="Without the MLPs low layers' states lose their indirect effect and high layers' states keep it.",
        quantity="share of the last subject token's indirect effect kept in the third quarter of the layers, minus "
        "that in the first",
        unit="points",
        paper="not given",
        expectation=Expectation("at least", 50.0),
        control="the last token's states, where nothing is severed",
        measure=mediation,
    ),
    Claim(
        id="trace.substitution",
        place="Figures 1, 3h, 3i",
        statement="The two sites are the same when another subject is substituted instead of noise.",
        quantity="as for trace.two-sites",
        unit="%",
        paper="not given",
        expectation=Expectation("at least", CLEAR),
        control=BEFORE,
        measure=substitution,
    ),
)

SECTION = Section(
    name="trace",
    title="Section 3: causal tracing",
    about="Facts that the model knows, drawn by the seed from its test records; noise of three standard deviations of "
    "the subject's embeddings, the same in every kind of trace; windows of the paper's ten of 48 layers, in "
    "proportion. Indirect effects (restored minus corrupted probability) are in per cent of the total effect (clean "
    "minus corrupted). Intervals: percentile bootstrap over facts, in which the best layer is chosen anew in each "
    "resample; Wilson for a share of facts.",
    claims=(*CLAIMS, *tracing_appendix.CLAIMS),
    on_model=gather,
)
