"""Commands run in a folder of their own."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from knowedit.cli import app


def call(*arguments: object, code: int = 0):
    """The result of a command, whose exit code is checked; an error that is no exit is raised."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return call
