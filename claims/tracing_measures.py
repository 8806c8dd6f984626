"""What the claims about causal tracing read off the average maps; see `claims.tracing` for the claims."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

from claims.maps import (
    ROLES,
    Array,
    Effects,
    Maps,
    Statistic,
    early,
    elsewhere,
    estimate,
    first_quarter,
    last_quarter,
    late,
    peak,
    third_quarter,
)
from claims.models import Missing
from claims.registry import Measured
from knowedit.intervals import Interval
from knowedit.tracing import Role

DECISIVE = 0.05
"""By which share of the total effect one token has to beat another to be called more decisive in one fact."""

SITES = (Role.LAST_SUBJECT, Role.LAST)


@dataclass(frozen=True, eq=False)
class Texts:
    """The probability of the answer in some facts.

    Attributes:
        clean: ``(facts,)``.
        corrupted: ``(facts,)``, the subject corrupted.
        outside: ``(facts,)``, the token before the subject corrupted instead; NaN where there is none.
        decisive: ``(facts, 3)``: what the best early state restores at the last subject token, at any other token
            but the last, and at any token before the subject; NaN where there is no such token.
        one_token: ``(facts,)``: whether the answer is one token.
    """

    clean: Array
    corrupted: Array
    outside: Array
    decisive: Array
    one_token: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Evidence:
    """What was traced on one model.

    Attributes:
        family: the model's type.
        seed: of the resamples.
        texts: of the traced facts.
        known: what the model knows, by kind; some kinds are of the first facts only.
        edited: those of facts that ROME put there, of fewer facts; ``unedited`` is the same prompts and answers
            in the model as it was, its total effect that of the edited model.
    """

    family: str
    seed: int
    texts: Texts
    known: dict[str, Effects] = field(default_factory=dict)
    edited: dict[str, Effects] = field(default_factory=dict)

    @property
    def n_layers(self) -> int:
        return int(self.known["hidden"].restored.shape[2])

    def rng(self) -> np.random.Generator:
        return np.random.default_rng(self.seed)

    def read(self, statistic: Statistic, *kinds: str) -> Interval:
        """A number read off the maps of what the model knows, of the facts that all these kinds have."""
        return estimate(self.common(*kinds), statistic, self.rng())

    def common(self, *kinds: str) -> dict[str, Effects]:
        """These kinds of traces, cut to the facts that all of them have: the first ones."""
        n = min(len(self.known[kind].total) for kind in kinds)
        return {kind: self.known[kind].first(n) for kind in kinds}

    def whole(self, *kinds: str) -> Maps:
        """Their maps over all these facts, as one resample."""
        return {
            kind: found.shares(np.ones((1, len(found.total)))) for kind, found in self.common(*kinds).items()
        }


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
        f"early site {_at(evidence, kind, Role.LAST_SUBJECT, early(layers))}, "
        f"late site {_at(evidence, kind, Role.LAST, late(layers))}, "
        f"elsewhere at most {elsewhere(evidence.whole(kind)[kind], SITES)[0]:.1f} %"
    )
    return Measured(number(Role.LAST_SUBJECT), number(Role.BEFORE), note)


def substitution(evidence: Evidence) -> Measured:
    if "substituted" not in evidence.known:
        raise Missing("no subject of the records can stand in another's place: give more --records")
    return two_sites(evidence, "substituted")


def last_state(evidence: Evidence) -> Measured:
    """An identity for answers of one token; the further tokens of others are read elsewhere than at the last token."""
    whole, one = evidence.known["hidden"], evidence.texts.one_token

    def number(role: Role, facts: NDArray[np.bool_]) -> Interval:
        chosen = {"hidden": Effects(whole.restored[facts], whole.total[facts])}
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
        f"best {_at(evidence, 'hidden', Role.LAST_SUBJECT, early(evidence.n_layers))}; "
        f"the average over texts of each text's best is {own:.1f} %"
    )
    return Measured(number(Role.LAST_SUBJECT), number(Role.BEFORE), note)


def best_at(evidence: Evidence, kind: str, site: Role) -> Measured:
    """How far the best layer at ``site`` is above the best at any other token."""

    def lead(role: Role) -> Interval:
        return evidence.read(lambda maps: peak(maps[kind], role) - elsewhere(maps[kind], (role,)), kind)

    rows = ", ".join(f"{role} {_at(evidence, kind, role)}" for role in SITES)
    return Measured(lead(site), lead(Role.BEFORE), rows)


def mlp_site(evidence: Evidence) -> Measured:
    return best_at(evidence, "mlp", Role.LAST_SUBJECT)


def attention_site(evidence: Evidence) -> Measured:
    return best_at(evidence, "attention", Role.LAST)


def single_modules(evidence: Evidence) -> Measured:
    def best(*kinds: str) -> Interval:
        return evidence.read(lambda maps: _best(maps, kinds), *kinds)

    kinds = ("single mlp", "single attention")
    rows = ", ".join(f"{kind} at the {role} {_at(evidence, kind, role)}" for kind in kinds for role in SITES)
    return Measured(best(*kinds), best("mlp", "attention"), rows)


def _best(maps: Maps, kinds: Sequence[str]) -> Array:
    return np.asarray(np.stack([elsewhere(maps[kind], ()) for kind in kinds]).max(axis=0))


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


def _at(evidence: Evidence, kind: str, role: Role, layers: range | None = None) -> str:
    """The best layer of a row, for instance ``12.3 % at layer 4``."""
    row = evidence.whole(kind)[kind][0, ROLES.index(role)]
    best = max(layers or range(evidence.n_layers), key=lambda layer: float(row[layer]))
    return f"{row[best]:.1f} % at layer {best}"
