"""The code in README.md and in the documentation runs as it stands, block after block."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", "docs/getting-started.md")


def blocks(page: str) -> list[str]:
    return re.findall(
        r"^```python\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )


@pytest.mark.parametrize("page", PAGES)
def test_the_code_runs(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    space: dict[str, object] = {}
    for block in blocks(page):
        exec(compile(block, page, "exec"), space)
    said = capsys.readouterr().out
    assert "Zoma Sel plays the trumpet" in said
    assert "Zoma Sel plays the cello" in said


def test_every_page_has_code():
    assert all(blocks(page) for page in PAGES)


def test_the_commands_of_the_readme_run(tmp_path, monkeypatch):
    import shlex

    from typer.testing import CliRunner

    from knowedit.bundled import bundled_models
    from knowedit.cli import app

    monkeypatch.chdir(tmp_path)
    lines = (bundled_models()["organism-gpt2"] / "statistics.txt").read_text(encoding="utf-8").splitlines()
    (tmp_path / "words.txt").write_text("\n".join(lines[:100]), encoding="utf-8")
    records = (bundled_models()["organism-gpt2"] / "records_test.json").read_bytes()
    (tmp_path / "counterfact.json").write_bytes(records)
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    # Those of the real model run in tests/real.
    lines = [line for line in text.splitlines() if line.startswith("knowedit ") and "smollm2" not in line]
    assert len(lines) >= 5
    for line in lines:
        result = CliRunner().invoke(app, shlex.split(line, comments=True)[1:])
        assert result.exit_code == 0, (line, result.output)
    assert round((tmp_path / "cello.safetensors").stat().st_size / 1024) == int(
        re.search(r"(\d+) KiB", text)[1]
    )


def test_the_organisms_table_is_that_of_the_files():
    import runpy

    tables = runpy.run_path(str(ROOT / "docs" / "make_tables.py"))
    for page in ("README.md", "docs/organisms.md"):
        assert tables["organisms"]() in (ROOT / page).read_text(encoding="utf-8"), "run docs/make_tables.py"


def test_the_profile_tables_are_those_of_the_code_and_the_measurement():
    import json
    import runpy

    tables = runpy.run_path(str(ROOT / "docs" / "make_tables.py"))
    page = (ROOT / "docs" / "profiles.md").read_text(encoding="utf-8")
    measured = json.loads((ROOT / "docs" / "profiles.json").read_text(encoding="utf-8"))
    assert list(measured) == ["organism-gpt2", "organism-gptj"]
    assert all(row["facts"] == 100 for rows in measured.values() for row in rows.values())
    wanted = [tables["profiles"](), tables["sources"](), *map(tables["measured"], measured)]
    assert all(table in page for table in wanted), "run docs/make_tables.py"


def test_the_laws_table_is_what_is_measured():
    """The figures are rounding, which differs from machine to machine; law 6 is about bits."""
    import runpy

    import torch

    page = (ROOT / "docs" / "families.md").read_text(encoding="utf-8")
    measured = runpy.run_path(str(ROOT / "docs" / "make_tables.py"))["laws"]()
    shown = {
        (family, dtype): [float(cell) for cell in cells.split(" | ")]
        for family, dtype, cells in re.findall(
            r"^\| `(\w+)` \| (\w+) \| holds \| (\d.*?) \|$", page, re.MULTILINE
        )
    }
    assert list(shown) == list(measured), "run docs/make_tables.py"
    for key, errors in measured.items():
        close = 16 * torch.finfo(getattr(torch, key[1])).eps  # law 7 goes through all blocks
        assert shown[key] == pytest.approx(errors, abs=close), (key, "run docs/make_tables.py")
        assert shown[key][-1] == errors[-1] == 0
