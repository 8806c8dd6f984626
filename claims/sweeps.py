"""Appendix D: fine-tuning over its layers and bounds, read from a finished sweep on training records."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final

import numpy as np

from claims.finished_sweep import ABOUT, Evidence, gather, shown_by_layer
from claims.means import Array, Means
from claims.models import Missing
from claims.registry import Claim, Expectation, Measured, Section
from knowedit.evaluation.runs.sweep_points import SweepPoint

EFFECTIVE: Final = 90.0
"""ES in per cent from which fine-tuning works at a layer; elsewhere NS is high because nothing is edited."""
TUNED: Final = ("FT", "FT+L", "AttnEdit")


def ft_layer(evidence: Evidence) -> Measured:
    """NS of FT at its best layer above the mean of the other layers, and that of its worst.

    The layer is chosen on half of the records and measured on the other half, so that choosing does not make it best.
    """
    points = evidence.find("FT", learning_rate=evidence.rate("FT"))
    efficacy, specificity = (evidence.means(points, column) for column in ("ES", "NS"))
    kept = [one for one in points if efficacy(str(one), "ES")[0] >= EFFECTIVE]
    if len(kept) < 2:
        layers = ", ".join(str(one.setting["layer"]) for one in kept) or "none"
        raise Missing(
            f"FT has an ES of {EFFECTIVE:g} % at one layer at most ({layers}): there is nothing to compare"
        )
    order = np.random.default_rng(evidence.seed).permutation(evidence.cases).tolist()
    chosen, rest = (evidence.means(kept, "NS", half) for half in (order[::2], order[1::2]))
    by_layer = [chosen(str(one), "NS")[0] for one in kept]
    places = [int(np.argmax(by_layer)), int(np.argmin(by_layer))]
    found, control = (rest.interval(_above_others(kept, rest, place)) for place in places)
    note = f"best layer {kept[places[0]].setting['layer']}; NS by layer {shown_by_layer(kept, specificity, 'NS')}"
    return Measured(found, control, f"{note}; {evidence.note}")


def _above_others(points: Sequence[SweepPoint], means: Means, place: int) -> Array:
    every = [means(str(one), "NS") for one in points]
    own = every.pop(place)
    return np.asarray(own - np.mean(every, axis=0), dtype=np.float64)


def trade(method: str, evidence: Evidence) -> Measured:
    """What the smallest ε gains in NS and loses in PS beside the largest: the smaller of the two, in points."""
    rate = evidence.rate(method)
    bounds = sorted({one.setting.get("bound") or 0.0 for one in evidence.find(method, learning_rate=rate)})
    if len(bounds) < 2:
        raise Missing(f"the sweep has one ε of {method} only: add another with knowedit sweep")
    small, large = (
        evidence.find(method, learning_rate=rate, bound=bound) for bound in (bounds[0], bounds[-1])
    )
    changes = []
    for column in ("NS", "PS"):
        means = evidence.means([*small, *large], column)
        changes.append(_mean(small, means, column) - _mean(large, means, column))
    gained, lost = changes
    found, control = means.interval(np.minimum(gained, -lost)), means.interval(np.minimum(-gained, lost))
    note = f"ε {bounds[0]:g} beside {bounds[-1]:g}: NS {gained[0]:+.1f}, PS {lost[0]:+.1f} points"
    return Measured(found, control, f"{note}, mean over the layers; {evidence.note}")


def _mean(points: Sequence[SweepPoint], means: Means, column: str) -> Array:
    return np.asarray(np.mean([means(str(one), column) for one in points], axis=0), dtype=np.float64)


def _epsilon(name: str, method: str, place: str) -> Claim[Evidence]:
    return Claim(
        id=f"sweep.{name}-epsilon",
        place=place,
        statement=f"A smaller ε of {method} buys specificity and costs generalisation.",
        quantity="the gain of NS and the loss of PS of the smallest ε beside the largest, the smaller of the two",
        unit="points",
        paper="read from the figure",
        expectation=Expectation("at least", 0.0),
        control="the largest ε in place of the smallest",
        measure=partial(trade, method),
    )


SECTION: Section[Evidence] = Section(
    name="sweep",
    title="Appendix D: layers and bounds",
    about=ABOUT,
    claims=(
        Claim(
            id="sweep.ft-layer",
            place="Appendix D, Figures 13, 14",
            statement="Fine-tuning without a bound has a layer that is best for specificity.",
            quantity="NS at the layer that is best on half of the records above the mean of the other layers, on the "
            f"other half; of layers with ES of at least {EFFECTIVE:g} %",
            unit="points",
            paper="layer 1 of 48 and 21 of 28",
            expectation=Expectation("at least", 0.0),
            control="the worst layer in place of the best",
            measure=ft_layer,
        ),
        _epsilon("ftl", "FT+L", "Appendix D, Figures 13, 14"),
        _epsilon("attn", "AttnEdit", "Appendix E, Figure 15"),
    ),
    on_model=partial(gather, TUNED),
)
