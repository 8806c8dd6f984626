"""``knowedit profiles``: all of them, one with its sources, what differs between two."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from knowedit.cli import app
from knowedit.editing import PROFILES, SOURCES


def run(*words: str):
    return CliRunner().invoke(app, ["profiles", *words], env={"COLUMNS": "200"})


def test_all_profiles_have_a_column_and_all_fields_a_row():
    result = run()
    assert result.exit_code == 0
    assert all(name in result.output for name in (*PROFILES, *SOURCES))
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
