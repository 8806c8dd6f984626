"""``knowedit stats`` as a user runs it: output, exit code, files."""

from __future__ import annotations

import json
import random
import sys
from functools import partial

import pytest
import typer
from typer.testing import CliRunner

from knowedit.cli.options import Layers
from knowedit.editing import Reading, load_second_moment, second_moment
from knowedit.editing.statistics.corpus import Position
from knowedit.errors import InputError
from knowedit.models import load
from tests.cli.conftest import call
from tests.conftest import TEXTS

WORDS = " ".join(TEXTS).split()
LINES = [" ".join(random.Random(n).sample(WORDS, 12)) for n in range(100)]


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.txt").write_text("\n".join(LINES), encoding="utf-8")
    (tmp_path / "t.jsonl").write_text(
        "\n".join(json.dumps({"text": line, "body": "Paris"}) for line in LINES), encoding="utf-8"
    )

    return partial(call, "stats")


@pytest.fixture(scope="module")
def model(tiny_gpt2, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    tiny_gpt2.model.save_pretrained(folder)
    tiny_gpt2.tokenizer.save_pretrained(folder)
    return folder


def test_json_says_what_the_files_hold(run, model, tmp_path):
    found = json.loads(
        run("--model", model, "--text", "t.txt", "--layers", "0-1,3", "--out", "o", "--json").stdout
    )
    lm = load(str(model))
    assert [row["layer"] for row in found["layers"]] == [0, 1, 3]
    for row in found["layers"]:
        assert load_second_moment(tmp_path / "o" / row["file"], lm, row["layer"]).count == row["tokens"]
        assert 0 < row["change"] < 1
        assert row["condition"] > 1
    assert found["complete"] is True
    assert found["seen"]["texts"] == len(LINES)


def test_the_table_says_what_the_figures_mean(run, model):
    text = run("--model", model, "--text", "t.txt", "--layers", "1", "--out", "o").stdout
    text = " ".join(text.split())
    assert "change with more text" in text
    assert "an update would change by about" in text
    assert "more than it has to" in text
    assert "written to o" in text
    again = run("--model", model, "--text", "t.txt", "--layers", "1", "--out", "o").stdout
    assert " ".join(again.split()) == text


def test_too_little_text_is_said(run, model):
    text = run("--model", model, "--text", "t.txt", "--layers", "1", "--out", "o", "--max-tokens", "9").stdout
    assert "not of full rank (9 tokens for keys of length 128)" in " ".join(text.split())
    text = run(
        "--model", model, "--text", "t.txt", "--layers", "1", "--out", "p", "--max-tokens", "150"
    ).stdout
    assert "half of the text is not of full rank (150 tokens for keys of length 128)" in " ".join(
        text.split()
    )


def test_every_source_gives_the_same_moments(run, model, tmp_path):
    import datasets

    datasets.disable_progress_bars()
    datasets.Dataset.from_dict({"text": LINES}).save_to_disk("saved")
    for option, value in (("--text", "t.txt"), ("--jsonl", "t.jsonl"), ("--dataset", "saved")):
        run("--model", model, option, value, "--layers", "2", "--out", f"out{option}")
    lm = load(str(model))
    found = [
        load_second_moment(tmp_path / f"out{option}" / "second_moment_2.safetensors", lm, 2).raw_sum
        for option in ("--text", "--jsonl", "--dataset")
    ]
    assert bool((found[0] == found[1]).all())
    assert bool((found[0] == found[2]).all())


def test_options_reach_the_run(run, model):
    options = ["--model", model, "--jsonl", "t.jsonl", "--field", "body", "--layers", "2", "--part", "mlp_up"]
    options += ["--max-texts", "7", "--max-tokens", "50", "--context", "3", "--split-long"]
    options += ["--batch-tokens", "20", "--shuffle", "5", "--checkpoint-seconds", "0"]
    found = json.loads(run(*options, "--out", "o", "--json").stdout)["run"]
    assert found["corpus"]["field"] == "body"
    assert found["corpus"]["shuffle_seed"] == 5
    assert found["part"] == "mlp_up"
    expected = {"max_texts": 7, "max_tokens": 50, "window": 3, "split": True, "batch_tokens": 20}
    assert expected.items() <= found.items()


def test_installed_files_are_found_by_an_edit(run, model):
    arguments = ["--model", model, "--text", "t.txt", "--layers", "0,2", "--out", "o", "--install"]
    found = json.loads(run(*arguments, "--json").stdout)
    lm = load(str(model))
    assert second_moment(lm, 2).count == found["seen"]["tokens"]
    assert len(found["installed"]) == 2
    run(*arguments)
    other = run(*arguments[:-3], "--out", "o2", "--install", "--max-texts", "3", code=2)
    assert "exists already" in other.stderr
    for path in model.glob("second_moment_*"):
        path.unlink()


def test_another_run_in_the_folder_is_refused_in_one_line(run, model):
    arguments = ["--model", model, "--text", "t.txt", "--out", "o"]
    run(*arguments, "--layers", "0")
    said = run(*arguments, "--layers", "1", code=2).stderr
    assert "layers is [0] there and [1] here" in said
    assert len(said.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "no source of text was given"),
        (["--text", "t.txt", "--jsonl", "t.jsonl"], "--text and --jsonl were given"),
        (["--text", "none.txt"], "there is no file none.txt"),
        (["--jsonl", "t.txt"], "line 1 is not JSON"),
        (["--jsonl", "t.jsonl", "--field", "title"], "line 1 has no field 'title'"),
        (["--text", "t.txt", "--layers", "9"], "layers go from 0 to 3"),
        (["--text", "t.txt", "--part", "mlp"], "there is no projection 'mlp'"),
        (["--text", "t.txt", "--context", "65"], "64 positions"),
    ],
)
def test_bad_options_are_one_line_and_leave_nothing(run, model, tmp_path, arguments, words):
    layers = [] if "--layers" in arguments else ["--layers", "0"]
    said = run("--model", model, *layers, "--out", "o", *arguments, code=2).stderr
    assert words in said
    assert len(said.strip().splitlines()) == 1
    assert not (tmp_path / "o").exists()


def test_without_the_library_the_extra_is_named(run, model, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    said = run("--model", model, "--dataset", "a/b", "--layers", "0", "--out", "o", code=2).stderr
    assert "install knowedit[datasets]" in said


def read_layers(text):
    """What a command gets for ``--layers text``."""
    found = []
    app = typer.Typer()

    @app.command()
    def show(layers: Layers = None) -> None:
        found.append(layers)

    result = CliRunner().invoke(app, ["--layers", text])
    if result.exception is not None:
        raise result.exception
    return found[0]


@pytest.mark.parametrize(
    ("text", "layers"),
    [("3", (3,)), ("3-5", (3, 4, 5)), ("7, 1-2,2", (1, 2, 7)), ("4-4", (4,)), ("0", (0,))],
)
def test_layers_are_numbers_and_ranges(text, layers):
    assert read_layers(text) == layers


@pytest.mark.parametrize("text", ["", "a", "1,", "-1", "1-", "1-2-3", "1.5", "5-3", "²"])
def test_other_layers_are_refused(text):
    with pytest.raises(InputError, match="--layers"):
        read_layers(text)


@pytest.mark.parametrize(
    ("size", "reading", "share"),
    [
        (None, Reading(), None),
        (100, Reading(), 0.1),
        (100, Reading(max_texts=20), 0.5),
        (100, Reading(max_texts=200), 0.1),
        (None, Reading(max_tokens=2000), 0.25),
        (100, Reading(max_texts=20, max_tokens=2000), 0.5),
        (5, Reading(), 1.0),
    ],
)
def test_the_share_that_is_done(size, reading, share):
    assert reading.share(Position(texts=10, tokens=500), size) == share


def test_layers_beyond_any_model_are_refused_at_once(run):
    assert (
        "beyond any model" in run("--text", "t.txt", "--layers", "0-300000000", "--out", "o", code=2).stderr
    )


def test_an_out_that_is_a_file_is_refused(run, model):
    found = run("--model", model, "--text", "t.txt", "--layers", "1", "--out", "t.txt", code=2)
    assert "t.txt is a file, where a folder is needed: give another --out" in found.stderr


@pytest.mark.parametrize("line", ['{"text": "a \\ud800 b"}', "[" * 100_000, '{"text": ' + "9" * 5000 + "}"])
def test_lines_that_no_parser_takes_are_named(run, model, tmp_path, line):
    (tmp_path / "bad.jsonl").write_text('{"text": "fine"}\n' + line + "\n", encoding="utf-8")
    found = run("--model", model, "--jsonl", "bad.jsonl", "--layers", "1", "--out", "o", code=2)
    assert "line 2" in found.stderr
    assert not (tmp_path / "o").exists()
