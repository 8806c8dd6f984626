"""Claims that are read from a sweep: what they make of invented points."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from claims import layers
from claims.finished_sweep import FOLDER, Evidence
from claims.layers import thirds
from claims.models import Missing
from claims.sources import EVIDENCE
from claims.sweeps import SECTION, TUNED
from claims.verdicts import Verdict, assess
from knowedit.bundled import bundled_models, notes
from knowedit.evaluation import best, read_sweep
from knowedit.evaluation.runs.sweep_points import SweepPoint

CLAIMS = {claim.id: claim for section in (SECTION, layers.SECTION) for claim in section.claims}
CASES = tuple(range(40))
N_LAYERS = 12


def point(method: str, layer: int, bound: float | None = None, rate: float | None = 5e-4, **means: float):
    """A point whose columns have these means in per cent, and vary between records."""
    rng = np.random.default_rng([layer, len(method), int(1e4 * (bound or 0))])
    columns = {}
    for key in ("ES", "PS", "NS"):
        mean = means.get(key, 99.0) / 100
        columns[key] = tuple(np.clip(mean + 0.02 * rng.standard_normal(len(CASES)), 0, 1))
    given = {"layer": layer, "bound": bound, "learning_rate": rate}
    setting = {name: value for name, value in given.items() if value is not None}
    return SweepPoint(method, setting, {}, {}, CASES, columns, {}, 0.1)


def paper() -> list[SweepPoint]:
    """What the paper says, invented."""
    found = [point("FT", layer, NS=70.0 + 10 * (layer == 3)) for layer in range(6)]
    found += [point("FT", layer, ES=20.0, NS=100.0) for layer in range(6, 12)]  # no edit, so no harm
    for method in ("FT+L", "AttnEdit"):
        for layer in (0, 4):
            found.append(point(method, layer, 1e-3, PS=50.0, NS=95.0))
            found.append(point(method, layer, 5e-3, PS=80.0, NS=85.0))
            found.append(point(method, layer, 2e-2, PS=90.0, NS=75.0))
    return found + [point("ROME", layer, rate=None, PS=95.0 if layer < 8 else 20.0) for layer in range(12)]


def evidence(points: list[SweepPoint]) -> Evidence:
    return Evidence(points, CASES, N_LAYERS, 0)


def verdict(name: str, points: list[SweepPoint]) -> Verdict:
    claim = CLAIMS[name]
    try:
        return assess(claim, "m", claim.measure(evidence(points))).verdict
    except Missing:
        return Verdict.NOT_MEASURED


def changed(method: str, change: Callable[[SweepPoint], SweepPoint]) -> list[SweepPoint]:
    return [change(one) if one.method == method else one for one in paper()]


@pytest.mark.parametrize("name", CLAIMS)
def test_the_papers_picture_holds(name: str) -> None:
    assert verdict(name, paper()) is Verdict.HOLDS


def varied(one: SweepPoint, **setting: float) -> SweepPoint:
    return replace(one, setting=one.setting | setting)


def reversed_bounds(one: SweepPoint) -> SweepPoint:
    return varied(one, bound=1e-4 / (one.setting.get("bound") or 1))


@pytest.mark.parametrize(
    ("name", "points"),
    [
        ("sweep.ftl-epsilon", changed("FT+L", reversed_bounds)),
        ("sweep.attn-epsilon", changed("AttnEdit", reversed_bounds)),
        (
            "rome.any-middle-layer",
            [*paper()[:-5], *(point("ROME", k, rate=None, PS=20.0) for k in range(7, 12))],
        ),
    ],
)
def test_another_picture_does_not(name: str, points: list[SweepPoint]) -> None:
    assert verdict(name, points) in (Verdict.ERROR, Verdict.CONTRADICTED)
    found = CLAIMS[name].measure(evidence(points))
    assert found.value.high < CLAIMS[name].expectation.bound


def test_layers_that_are_alike_show_no_best_layer() -> None:
    points = [point("FT", layer, NS=80.0) for layer in range(6)]
    assert verdict("sweep.ft-layer", points) is not Verdict.HOLDS


def test_a_layer_where_nothing_is_edited_is_not_the_best() -> None:
    found = CLAIMS["sweep.ft-layer"].measure(evidence(paper()))
    assert found.note.startswith("best layer 3; NS by layer 0: 69.9, 1: ")
    assert found.value.mean == pytest.approx(10, abs=2)
    assert verdict("sweep.ft-layer", paper()[5:12]) is Verdict.NOT_MEASURED


def test_the_trade_is_the_smaller_of_gain_and_loss_at_the_best_rate() -> None:
    worse = [
        replace(varied(one, learning_rate=9.0), columns=one.columns | {"ES": (0.1,) * 40}) for one in paper()
    ]
    for points in (paper(), [*worse, *paper()]):
        found = CLAIMS["sweep.ftl-epsilon"].measure(evidence(points))
        assert found.value.mean == pytest.approx(20, abs=2)  # NS +20, PS −40
        assert found.control.mean == pytest.approx(-40, abs=2)


@pytest.mark.parametrize("name", CLAIMS)
def test_without_its_points_a_claim_is_not_measured(name: str) -> None:
    some = {"sweep.ft-layer": "FT", "sweep.ftl-epsilon": "FT+L", "sweep.attn-epsilon": "AttnEdit"}.get(
        name, "ROME"
    )
    assert verdict(name, [one for one in paper() if one.method != some]) is Verdict.NOT_MEASURED
    first = next(one for one in paper() if one.method == some)
    assert verdict(name, [one for one in paper() if one.method != some] + [first]) is Verdict.NOT_MEASURED


@pytest.mark.parametrize("name", bundled_models())
def test_the_known_settings_are_the_best_of_the_sweep(name: str) -> None:
    points = read_sweep(EVIDENCE / name / FOLDER)[1]
    known = notes(bundled_models()[name])["fine_tuning"]
    fields = dict.fromkeys(("layer", "bound", "learning_rate"))
    assert known == {method: fields | dict(best(points, method).setting) for method in TUNED}


def test_thirds() -> None:
    assert thirds(12) == (range(4, 8), range(8, 12))
    assert thirds(28) == (range(9, 19), range(19, 28))
