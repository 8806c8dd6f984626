"""Average maps of causal traces, and intervals of anything that is read off them.

A map has a row for each role of a token and a column for each layer. What is claimed about it is often a peak: the
best layer of one row, or the best place outside it. The bootstrap draws facts again and reads the whole map
again each time, so that choosing the peak is part of what varies.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from claims.models import Missing
from knowedit.intervals import LEVEL, Interval
from knowedit.tracing import Role

ROLES = tuple(Role)
SITES = (Role.LAST_SUBJECT, Role.LAST)
RESAMPLES = 5_000

CLEAR = 5.0
"""Per cent of the total effect."""
BEFORE = "the token before the subject in place of the last subject token"
"""A control."""

Array: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Effects:
    """The effects in some facts, one kind of trace.

    Attributes:
        indirect: ``(facts, roles, layers)``: restored minus corrupted probability, the mean over the tokens with that
            role; NaN where a prompt has none.
        total: ``(facts,)``: clean minus corrupted probability.
    """

    indirect: Array
    total: Array

    def first(self, n: int) -> Effects:
        """Of the first ``n`` facts."""
        return Effects(self.indirect[:n], self.total[:n])

    def shares(self, weights: Array) -> Array:
        """``(resamples, roles, layers)``: indirect effects in per cent of the total effect, ratios of means.

        Both means are over the facts that have the role. A role that no fact has counts as without effect.

        Args:
            weights: ``(resamples, facts)``: how often each fact was drawn.
        """
        present = ~np.isnan(self.indirect)
        n, *cells = self.indirect.shape
        gained = weights @ np.where(present, self.indirect, 0.0).reshape(n, -1)
        possible = weights @ (present * self.total[:, None, None]).reshape(n, -1)
        found = np.divide(100 * gained, possible, out=np.zeros_like(gained), where=possible > 0)
        return found.reshape(len(weights), *cells)


Maps: TypeAlias = Mapping[str, Array]
"""Shares by kind of trace."""

Statistic: TypeAlias = Callable[[Maps], Array]
"""A number ``(resamples,)`` read off the maps."""


def estimate(effects: Mapping[str, Effects], statistic: Statistic, rng: np.random.Generator) -> Interval:
    """The statistic of all facts, with the percentile bootstrap interval over facts.

    All kinds of traces must be of the same facts, which are drawn together.

    Raises:
        Missing: fewer than two facts.
        ValueError: kinds of different facts.
    """
    sizes = {len(found.total) for found in effects.values()}
    n = min(sizes)
    if sizes != {n}:
        raise ValueError(f"the kinds of traces have {sorted(sizes)} facts: expected one number")
    if n < 2:
        raise Missing(f"an interval needs at least 2 facts of a kind and {n} were drawn: raise --facts")
    drawn = rng.multinomial(n, np.full(n, 1 / n), size=RESAMPLES).astype(np.float64)
    mean, *_ = _read(effects, statistic, np.ones((1, n)))
    low, high = np.quantile(_read(effects, statistic, drawn), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(mean), float(low), float(high), n)


def _read(effects: Mapping[str, Effects], statistic: Statistic, weights: Array) -> Array:
    return statistic({kind: found.shares(weights) for kind, found in effects.items()})


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
        return int(self.known["hidden"].indirect.shape[2])

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

    def best(self, kind: str, role: Role, layers: range | None = None) -> str:
        """The best layer of a row, for instance ``12.3 % at layer 4``."""
        row = self.whole(kind)[kind][0, ROLES.index(role)]
        best = max(layers or range(self.n_layers), key=lambda layer: float(row[layer]))
        return f"{row[best]:.1f} % at layer {best}"


def peak(maps: Array, role: Role, layers: range | None = None) -> Array:
    """The best layer of a role, of those given."""
    row = maps[:, ROLES.index(role)]
    chosen = row if layers is None else row[:, layers.start : layers.stop]
    return np.asarray(chosen.max(axis=1))


def elsewhere(maps: Array, without: Collection[Role]) -> Array:
    """The best layer of the best role that is not among those given."""
    rows = [i for i, role in enumerate(ROLES) if role not in without]
    return np.asarray(maps[:, rows].max(axis=(1, 2)))


def early(n_layers: int) -> range:
    """Where an early site may lie: before the last quarter of the layers."""
    return range(math.ceil(3 * n_layers / 4))


def late(n_layers: int) -> range:
    """Where a late site may lie: the last quarter but the very last layer, whose last state is the answer itself."""
    return range(math.ceil(3 * n_layers / 4), n_layers - 1)


def first_quarter(n_layers: int) -> range:
    """The first quarter of the layers."""
    return range(math.ceil(n_layers / 4))


def third_quarter(n_layers: int) -> range:
    """The second half of the layers up to the last quarter."""
    return range(n_layers // 2, math.ceil(3 * n_layers / 4))


def last_quarter(n_layers: int) -> range:
    """The last quarter of the layers."""
    return range(math.ceil(3 * n_layers / 4), n_layers)
