"""``knowedit sweep`` as a user runs it."""

from __future__ import annotations

import json
import shutil
import sys

import pytest

from knowedit.bundled import bundled_models, notes
from knowedit.cli import sweep as sweep_module
from knowedit.evaluation import read_sweep

MODEL = "organism-gptj"
OPTIONS = ("-m", MODEL, "--method", "ft", "--method", "ft+l", "--layers", "0,6", "--bounds", "1e-3,5e-3")


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    from tests.cli.conftest import call

    file = tmp_path_factory.mktemp("sweep") / "s"
    picture = file.with_name("s.svg")
    return file, call("sweep", *OPTIONS, "--limit", 2, "--out", file, "--figure", picture).stdout


def test_it_shows_every_setting_and_the_best(swept):
    text = swept[1]
    assert text.count("best") == 2 + 1
    assert sum(line.lstrip().startswith("FT") for line in text.splitlines()) == 6
    assert len(read_sweep(swept[0])[1]) == 6
    assert "s.svg" in "".join(text.split())
    assert "FT+L, ε = 5e-3" in swept[0].with_name("s.svg").read_text(encoding="utf-8")


def test_all_settings_in_the_file_are_judged(run, swept, tmp_path):
    shutil.copytree(swept[0], tmp_path / "s")
    options = ("-m", MODEL, "--method", "ft+l", "--layers", "6", "--bounds", "1e-3", "--limit", 2, "--json")
    found = json.loads(run("sweep", *options, "--out", "s").stdout)
    assert len(found["points"]) == 4
    assert found["best"]["FT+L"]["bound"] == 5e-3


def test_the_best_settings_are_kept_as_known_ones(run, swept, tmp_path):
    folder = tmp_path / MODEL
    shutil.copytree(bundled_models()[MODEL], folder)
    (folder / "knowedit.json").write_text('{"edit_layer": 2, "fine_tuning": {"AttnEdit": {"layer": 1}}}')
    shutil.copytree(swept[0], "s")
    options = ("-m", folder, *OPTIONS[2:], "--limit", 2, "--out", "s", "--keep", "--json")
    found = json.loads(run("sweep", *options).stdout)
    assert notes(folder) == {"edit_layer": 2, "fine_tuning": found["best"] | {"AttnEdit": {"layer": 1}}}
    first = found["points"][0]
    assert (first["method"], first["layer"], first["bound"], first["failed"]) == ("FT", 0, None, {})
    assert first["columns"]["ES"][0] == 100.0
    fact = ("--subject", "Zovenbi", "--prompt", "The headquarters of {} are in", "--target-new", "Moscow")
    run("edit", *fact, "-m", folder, "--method", "ft", "--out", "e.safetensors")
    assert f"layer {found['best']['FT']['layer']} mlp_down" in run("inspect", "e.safetensors").stdout


def test_an_interrupted_sweep_says_how_to_resume(run, swept, monkeypatch, tmp_path):
    def watch(point, done, of):
        if "layer 6" in point:
            raise KeyboardInterrupt

    monkeypatch.setattr(sweep_module, "_watch", lambda tell: watch)
    monkeypatch.setattr(sys, "argv", ["knowedit"])
    options = ("-m", MODEL, "--method", "ft", "--layers", "0,6", "--limit", 2, "--out", "s")
    told = run("sweep", *options, code=130).stderr
    assert "every finished setting is kept in s" in " ".join(told.split())
    (first,) = read_sweep(tmp_path / "s")[1]
    assert first.columns == read_sweep(swept[0])[1][0].columns


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--method", "mend"), "there is no editor 'mend': use one of rome, ft, ft+l, attn-edit"),
        (
            ("--method", "ft", "--layers", "a"),
            "--layers 'a' cannot be read at 'a': write them as in 3-7,10",
        ),
        (("--method", "ft", "--layers", "3-1"), "--layers '3-1' goes down"),
        (("--method", "ft", "--layers", "0,12"), "layers go from 0 to 11"),
        (("--method", "ft+l", "--bounds", "0"), "--bounds '0' has a number that is not positive"),
        (("--method", "ft", "--rates", "x"), "--rates 'x' cannot be read"),
        (("--method", "ft", "--vary", "steps=1,2"), "'steps' is no option of ft, which has"),
        (("--method", "ft", "--vary", "max_steps=1,1"), "gives a value twice"),
        (("--method", "ft", "--records", "none.json"), "there is no file none.json"),
        (("--method", "ft", "--figure", "s.bmp"), "ends with '.bmp', expected one of .png, .svg, .pdf"),
        (("--method", "ft", "--figure", "none/s.svg"), "the folder none does not exist"),
    ],
)
def test_bad_requests_are_one_line_and_leave_nothing(run, tmp_path, options, words):
    told = run("sweep", "-m", MODEL, *options, "--out", "s", code=2).stderr
    assert words in " ".join(told.split())
    assert not (tmp_path / "s").exists()


def test_any_field_can_be_varied(run, tmp_path):
    options = ("-m", MODEL, "--method", "ft", "--layers", 0, "--vary", "max_steps=1,2", "--limit", 2)
    found = json.loads(run("sweep", *options, "--rates", "5e-4,1e-3", "--out", "s", "--json").stdout)
    assert [(one["max_steps"], one["learning_rate"]) for one in found["points"]] == [
        (steps, rate) for rate in (5e-4, 1e-3) for steps in (1, 2)
    ]
    assert "max_steps" in run("sweep", *options, "--rates", "5e-4,1e-3", "--out", "s").stdout
