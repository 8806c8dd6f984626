"""``knowedit profiles``: all of them, one with its sources, what differs between two."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from knowedit.cli import app
from knowedit.cli.output import console
from knowedit.editing import PROFILES, SOURCES


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    """A COLUMNS that was set when the console was made would hold for good."""
    monkeypatch.setattr(console, "width", 200)


def run(*words: str):
    return CliRunner().invoke(app, ["profiles", *words])


def test_all_profiles_have_a_column_and_all_fields_a_row():
    result = run()
    assert result.exit_code == 0
    assert all(name in result.output for name in (*PROFILES["rome"], *SOURCES))
    assert "gpt2-xl 17, gpt-j-6b 5" in result.output


def test_one_profile_is_shown_with_its_sources():
    result = run("released-2022-10")
    assert "kl_factor" in result.output
    assert "hparams: kl_factor 0.0625" in result.output
    assert "learning_rate" in result.output


def test_two_profiles_are_shown_where_they_differ():
    result = run("released-2022-10", "consistent-keys")
    rows = [field for field in SOURCES if field in result.output]
    assert rows == ["constraint_key"]
    both = json.loads(run("paper", "paper-literal-kl", "--json").output)
    assert both["paper"] == {
        "kl_reduction": {"value": "mean", "source": both["paper"]["kl_reduction"]["source"]}
    }
    assert both["paper-literal-kl"]["kl_reduction"]["value"] == "sum"


@pytest.mark.parametrize(
    ("words", "said"), [(["none"], "there is no profile 'none'"), (["paper", "paper"], "two different ones")]
)
def test_bad_names_are_one_line_and_exit_code_2(words, said):
    result = run(*words)
    assert result.exit_code == 2
    assert said in result.stderr
    assert result.stderr.count("\n") == 1


def edited(tmp_path, *words: str):
    told = ["edit", "--subject", "Zoma Sel", "--prompt", "{} plays the", "--target-new", "cello"]
    out = tmp_path / "e.safetensors"
    return CliRunner().invoke(app, [*told, "--out", str(out), "--json", *words]), out


def test_edit_takes_a_profile_and_says_so(tmp_path):
    result, _ = edited(tmp_path, "--profile", "consistent-keys", "--layer", "4")
    found = json.loads(result.output)
    assert found["settings"]["kl_factor"] == 0.0625
    assert found["settings"]["layer"] == 4
    assert found["after"]["predicts"] == "cello"


def test_an_unknown_profile_is_refused_and_nothing_written(tmp_path):
    result, out = edited(tmp_path, "--profile", "rome")
    assert result.exit_code == 2
    assert "there is no profile 'rome'" in result.stderr
    assert not out.exists()


def test_edit_takes_statistics_of_its_layer_alone(tmp_path):
    folder = tmp_path / "stats"
    text = tmp_path / "text.txt"
    from knowedit.bundled import bundled_models, notes

    organism = bundled_models()["organism-gpt2"]
    lines = (organism / notes(organism)["statistics_text"]).read_text(encoding="utf-8").splitlines()
    text.write_text("\n".join(lines[:60]), encoding="utf-8")
    words = ["stats", "--text", str(text), "--layers", "4", "--out", str(folder)]
    assert CliRunner().invoke(app, words).exit_code == 0
    (moment,) = folder.glob("second_moment_4*")
    result, _ = edited(tmp_path, "--layer", "4", "--statistics", str(moment))
    assert json.loads(result.output)["after"]["predicts"] == "cello"
    result, _ = edited(tmp_path, "--layer", "5", "--statistics", str(moment), "--force")
    assert result.exit_code == 2
    assert "its layer is 4, expected 5" in result.stderr
