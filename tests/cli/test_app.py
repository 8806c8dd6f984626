"""The list of commands: what is imported for which question, what every command takes, and how errors end."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import version

import pytest
import typer
from typer.testing import CliRunner

from knowedit.cli import app
from knowedit.cli.app import COMMANDS, GROUPS

LIGHT = ("--version", "profiles", "models", "facts", "organism info organism-gpt2", "data --help")
HEAVY = {"torch", "transformers", "matplotlib"}
PROGRAM = """
import json, sys
from typer.testing import CliRunner
from knowedit.cli import app
found = {}
for line in sys.argv[1:]:
    result = CliRunner().invoke(app, line.split())
    assert result.exit_code == 0, (line, result.output)
    names = {name.split(".")[0] for name in sys.modules}
    found[line] = sorted(names & {"torch", "transformers", "matplotlib", "numpy", "pydantic"})
print(json.dumps(found))
"""


def imported(*lines: str) -> dict[str, list[str]]:
    """The heavy packages that are imported after each of the commands, run in their order in one process."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *lines], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_questions_are_answered_without_the_libraries_of_models():
    found = imported("--help", *(f"{path} --help" for path in COMMANDS), *LIGHT)
    assert found["--help"] == []
    assert {line: names for line, names in found.items() if HEAVY & set(names)} == {}


def test_top_level_help_shows_every_command():
    text = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200"}).output
    for path, line in (COMMANDS | GROUPS).items():
        if " " not in path:
            assert path in text
            assert line in " ".join(text.split())


@pytest.mark.parametrize("path", COMMANDS)
def test_every_command_has_its_help_and_its_shared_options(path):
    text = " ".join(CliRunner().invoke(app, [*path.split(), "--help"], env={"COLUMNS": "200"}).output.split())
    assert COMMANDS[path] in text
    assert "--verbose" in text
    assert "--quiet" in text
    assert "--json" in text
    assert ("--device" in text) == ("--model" in text) == ("--dtype" in text) or path in (
        "facts",
        "models check",
    ), path


def test_square_brackets_of_a_help_text_are_shown():
    assert "knowedit[ray]" in CliRunner().invoke(app, ["evaluate", "--help"]).output


def test_version_and_module():
    assert CliRunner().invoke(app, ["--version"]).output == f"knowedit {version('knowedit')}\n"
    done = subprocess.run(
        [sys.executable, "-m", "knowedit", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"knowedit {version('knowedit')}\n"


def test_a_shell_completes_commands_and_options():
    environment = {"_KNOWEDIT_COMPLETE": "complete_zsh", "_TYPER_COMPLETE_ARGS": "knowedit trac"}
    said = CliRunner().invoke(app, [], env=environment, prog_name="knowedit").output
    assert "trace" in said
    assert "trace-average" in said
    environment["_TYPER_COMPLETE_ARGS"] = "knowedit generate --max"
    assert "--max-new-tokens" in CliRunner().invoke(app, [], env=environment, prog_name="knowedit").output


def test_a_mistyped_command_is_told_the_nearest():
    result = CliRunner().invoke(app, ["evalute"])
    assert result.exit_code == 2
    assert "evaluate" in result.stderr


@pytest.mark.parametrize("words", [["-v", "organism", "info", "x"], ["organism", "info", "x", "-v"]])
def test_verbose_shows_where_an_error_arose(words):
    told = CliRunner().invoke(app, words).stderr
    assert told.startswith("Traceback")
    assert told.splitlines()[-1].startswith("error: 'x' is not a bundled model")
    assert len(CliRunner().invoke(app, ["organism", "info", "x"]).stderr.splitlines()) == 1


def test_verbose_tells_steps_and_quiet_tells_none(tmp_path):
    (tmp_path / "r.json").write_text("[]")
    words = ["data", "check", str(tmp_path / "r.json"), "--json"]
    assert "reading" in CliRunner().invoke(app, [*words, "-v"]).stderr
    assert CliRunner().invoke(app, [*words, "-q"]).stderr == CliRunner().invoke(app, words).stderr == ""


def test_an_interrupted_command_ends_with_130(monkeypatch):
    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr("knowedit.cli.models.own_models", interrupted)
    result = CliRunner().invoke(app, ["models"])
    assert (result.exit_code, result.stderr) == (130, "stopped\n")


def test_the_app_is_typers():
    assert isinstance(app, typer.Typer)
