"""The page on statistics: its code runs, its commands run, and its table is what the command prints."""

from __future__ import annotations

import re
import shlex
import shutil

from typer.testing import CliRunner

from knowedit.bundled import bundled_models
from knowedit.cli import app
from tests.test_docs import ROOT, blocks

PAGE = "docs/how-to/statistics.md"


def stats(line):
    result = CliRunner().invoke(app, shlex.split(line)[1:])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_code_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    space: dict[str, object] = {}
    found = blocks(PAGE)
    assert len(found) == 2
    for block in found:
        exec(compile(block, PAGE, "exec"), space)
    layers, residual = capsys.readouterr().out.rsplit("\n", 2)[:2]
    assert re.fullmatch(r"layer 4: 10000 tokens, change 0\.\d\d\nlayer 6: .*", layers)
    assert float(residual) < 1e-5


def test_the_command_prints_the_table_of_the_page(tmp_path, monkeypatch):
    """But for the last digits, which another processor may round otherwise."""
    monkeypatch.chdir(tmp_path)
    text = (ROOT / PAGE).read_text(encoding="utf-8")
    (command,) = re.findall(r"^knowedit stats .*$", text, re.MULTILINE)
    shutil.copy(bundled_models()["organism-gpt2"] / "statistics.txt", "texts.txt")
    said = stats(command)
    assert "written to stats" in said
    here, there = (re.search(r"^ 5 .*$", whole, re.MULTILINE)[0].split() for whole in (text, said))
    assert here[:3] == there[:3]
    for mine, said_to_be in zip(here[3:5], there[3:5], strict=True):
        assert abs(float(mine.removesuffix("%")) - float(said_to_be.removesuffix("%"))) < 0.2


def test_every_option_of_the_page_exists():
    text = (ROOT / PAGE).read_text(encoding="utf-8")
    help_text = CliRunner().invoke(app, ["stats", "--help"], env={"COLUMNS": "200"}).stdout
    assert set(re.findall(r"--[a-z][a-z-]+", text)) <= set(re.findall(r"--[a-z][a-z-]+", help_text))
