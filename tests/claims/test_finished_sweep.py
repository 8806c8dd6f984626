"""When a sweep is evidence: each way to spoil one is found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from claims.finished_sweep import FOLDER, Evidence, gather, require_found_again
from claims.layers import ROME
from claims.models import Missing, OpenModel, open_model
from claims.settings import Settings
from claims.sweeps import TUNED
from knowedit.errors import FileFormatError
from knowedit.evaluation import TRAIN_FILE, Stale, Sweep, load_records
from knowedit.evaluation.runs.sweep_points import KIND, LINES, SCHEMA, TITLE, SweepPoint
from knowedit.runs import RunFolder, read_folder


@pytest.fixture(scope="module")
def model() -> OpenModel:
    return open_model("organism-gptj", Settings())


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory, model: OpenModel) -> Path:
    folder = tmp_path_factory.mktemp("evidence")
    assert model.lm.folder is not None
    records = load_records(model.lm.folder / TRAIN_FILE)[:3]
    grids: dict[str, dict[str, list[Any]]] = {
        "ft": {"layer": [0], "learning_rate": [5e-4]},
        "rome": {"layer": [2]},
    }
    for editor, grid in grids.items():
        grid["max_steps"] = [2]
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
    with pytest.raises(
        Missing, match=r"no sweep in organism-gptj/sweep: make it with knowedit sweep --model"
    ):
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
    with pytest.raises(
        Stale, match=r"at FT layer 0 rate 0.0005 max_steps 2 was measured by version 0 of its settings"
    ):
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
