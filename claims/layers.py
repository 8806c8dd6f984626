"""Section 3.1: ROME layer by layer, read from a finished sweep on training records."""

from __future__ import annotations

from functools import partial
from typing import Final

import numpy as np

from claims.finished_sweep import ABOUT, Evidence, gather, shown_by_layer
from claims.models import Missing
from claims.registry import Claim, Expectation, Measured, Section
from knowedit.evaluation.runs.tables import F1_BELOW

ROME: Final = "ROME"


def thirds(n_layers: int) -> tuple[range, range]:
    """The middle third of the layers, and the last."""
    third = n_layers // 3
    return range(third, n_layers - third), range(n_layers - third, n_layers)


def any_middle_layer(evidence: Evidence) -> Measured:
    """PS of ROME at the middle layer where it is lowest, and at the lowest of the last layers."""
    points = evidence.find(ROME)
    means = evidence.means(points, "PS")
    by_layer = {one.setting["layer"]: means(str(one), "PS") for one in points}
    middle, last = thirds(evidence.n_layers)
    if missing := [layer for layer in (*middle, *last) if layer not in by_layer]:
        raise Missing(f"the sweep has no point of ROME at layer {missing[0]}: add it with knowedit sweep")
    found, control = (
        means.interval(np.min([by_layer[layer] for layer in layers], axis=0)) for layers in (middle, last)
    )
    return Measured(found, control, f"PS by layer {shown_by_layer(points, means, 'PS')}; {evidence.note}")


SECTION: Section[Evidence] = Section(
    name="rome",
    title="Section 3.1: ROME layer by layer",
    about=ABOUT,
    claims=(
        Claim(
            id="rome.any-middle-layer",
            place="Section 3.1",
            statement="A fact can be stored in any one of the middle MLP layers.",
            quantity="PS of ROME at the layer of the middle third where it is lowest",
            unit="%",
            paper="a hypothesis, not measured",
            expectation=Expectation("at least", F1_BELOW),
            control="the lowest layer of the last third",
            measure=any_middle_layer,
        ),
    ),
    on_model=partial(gather, (ROME,)),
)
