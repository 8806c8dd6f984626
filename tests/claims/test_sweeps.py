"""Claims that are read from a sweep: what they make of invented points, and when a file is no evidence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from claims.evidence_runs import EVIDENCE
from claims.models import Missing, OpenModel, Stale, open_model
from claims.settings import Settings
from claims.sweeps import (
    FOLDER,
    LAYERS,
    ROME,
    SECTION,
    TUNED,
    Evidence,
    gather,
    require_found_again,
    thirds,
)
from claims.verdicts import Verdict, assess
from knowedit.bundled import bundled_models, notes
from knowedit.errors import FileFormatError
from knowedit.evaluation import TRAIN_FILE, Sweep, best, load_records, read_sweep
from knowedit.evaluation.runs.sweep_points import KIND, LINES, SCHEMA, TITLE, SweepPoint
from knowedit.runs import RunFolder, read_folder

CLAIMS = {claim.id: claim for section in (SECTION, LAYERS) for claim in section.claims}
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
    rows = [one.row() for one in read_sweep(EVIDENCE / name / FOLDER)[1]]
    known = notes(bundled_models()[name])["fine_tuning"]
    fields = dict.fromkeys(("layer", "bound", "learning_rate"))
    assert known == {method: fields | dict(best(rows, method).setting) for method in TUNED}


def test_thirds() -> None:
    assert thirds(12) == (range(4, 8), range(8, 12))
    assert thirds(28) == (range(9, 19), range(19, 28))


@pytest.fixture(scope="module")
def model() -> OpenModel:
    return open_model("organism-gptj", Settings())


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory, model: OpenModel) -> Path:
    folder = tmp_path_factory.mktemp("evidence")
    assert model.lm.folder is not None
    records = load_records(model.lm.folder / TRAIN_FILE)[:3]
    for editor, grid in (("ft", {"layer": [0], "learning_rate": [5e-4]}), ("rome", {"layer": [2]})):
        Sweep(model.lm, editor, grid, folder / "organism-gptj" / FOLDER, records).run()
    return folder


def read(model: OpenModel, folder: Path, methods: tuple[str, ...] = (*TUNED, ROME)) -> Evidence:
    return gather(methods, model, Settings(evidence=folder), lambda done, of: None)


def test_a_sweep_is_read_and_some_of_it_measured_again(model: OpenModel, swept: Path) -> None:
    found = read(model, swept)
    assert [one.method for one in found.points] == ["FT", "ROME"]
    assert len(found.cases) == 3
    assert found.note.endswith("of 2 settings; 4 records measured again")
    assert [one.method for one in read(model, swept, TUNED).points] == ["FT"]
    with pytest.raises(Missing, match="has no point of FT\\+L"):
        read(model, swept, ("FT+L",))


def test_no_sweep(model: OpenModel, tmp_path: Path) -> None:
    with pytest.raises(Missing, match=r"no sweep in organism-gptj/sweep: make it with knowedit sweep -m"):
        read(model, tmp_path)


def spoiled(
    swept: Path, tmp_path: Path, change: Callable[[dict], None] | None = None, **identity: Any
) -> Path:
    """The sweep with lines that were changed and sealed again, or another manifest."""
    folder, out = swept / "organism-gptj" / FOLDER, tmp_path / "organism-gptj" / FOLDER
    manifest, contents = read_folder(folder, KIND, (SCHEMA,), TITLE, lines=LINES)
    with RunFolder(out, KIND, SCHEMA, TITLE, lines=LINES) as held:
        held.begin(manifest["run"] | identity)
        for content in contents:
            if change is not None:
                change(content)
            held.append(content)
    return tmp_path


def test_another_version_is_stale(model: OpenModel, swept: Path, tmp_path: Path) -> None:
    folder = spoiled(swept, tmp_path, lambda line: line["settings"].update(version=0))
    with pytest.raises(Stale, match=r"at FT layer 0 rate 0.0005 was measured by version 0 of its settings"):
        read(model, folder)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda line: line["settings"].update(layer=7), "settings layer is 7 there"),
        (lambda line: line["columns"].update(EM=[0.5, 0.5, 0.5]), "EM was 0.5 and is"),
        (lambda line: line["failed"].update({str(case): "x" for case in line["cases"]}), "failed only once"),
    ],
)
def test_a_sweep_of_something_else_is_refused(model, swept, tmp_path, change, words) -> None:
    with pytest.raises(ValueError, match=words):
        read(model, spoiled(swept, tmp_path, change))


@pytest.mark.parametrize(
    ("identity", "words"),
    [
        ({"model": "f" * 64}, "was measured otherwise: model is f"),
        ({"records": {"count": 3, "sha256": "0"}}, "about other records"),
    ],
)
def test_a_sweep_of_another_model_or_other_records_is_refused(
    model, swept, tmp_path, identity, words
) -> None:
    with pytest.raises(ValueError, match=words):
        read(model, spoiled(swept, tmp_path, **identity))


def test_a_changed_line_is_named(model: OpenModel, swept: Path, tmp_path: Path) -> None:
    file = spoiled(swept, tmp_path) / "organism-gptj" / FOLDER / LINES
    file.write_bytes(file.read_bytes().replace(b"0.", b"1.", 1))
    with pytest.raises(FileFormatError, match="line 1 of"):
        read(model, tmp_path)


def test_rounding_is_no_disagreement() -> None:
    one = SweepPoint("FT", {"layer": 0}, {}, {}, (1, 2), {"ES": (1.0, 0.0), "EM": (0.5, 0.25)}, {}, 0.1)
    require_found_again(one, 1, {"ES": 0.5, "EM": 0.5009})
    with pytest.raises(ValueError, match=r"record 1: EM was 0\.5 and is 0\.502"):
        require_found_again(one, 1, {"ES": 1.0, "EM": 0.502})
    with pytest.raises(ValueError, match=r"ES was 1\.0 and is 0\.0"):
        require_found_again(one, 1, {"ES": 0.0, "EM": 0.5})
    with pytest.raises(ValueError, match="record 2 failed only once"):
        require_found_again(one, 2, None)
