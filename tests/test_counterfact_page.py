"""The page about COUNTERFACT: what the data say where they are at hand, and its commands always."""

from __future__ import annotations

import os
import re
import runpy
from pathlib import Path

import pytest
from typer.testing import CliRunner

from knowedit.cli import app

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "counterfact.md").read_text(encoding="utf-8")


@pytest.mark.skipif(
    "KNOWEDIT_DATA" not in os.environ, reason="KNOWEDIT_DATA names no folder with COUNTERFACT and ParaRel"
)
def test_the_page_says_what_the_data_say():
    script = runpy.run_path(str(ROOT / "docs" / "make_counterfact.py"))
    for table in script["report"](Path(os.environ["KNOWEDIT_DATA"])).values():
        assert table in PAGE, "run docs/make_counterfact.py"


def test_facts_are_records_or_left_out_for_a_reason():
    counts = {
        row[0]: int(row[1].replace(",", "")) for row in re.findall(r"^\| ([^|]+) \| ([\d,]+) \|$", PAGE, re.M)
    }
    left = sum(n for name, n in counts.items() if name.startswith("left out, fact: ") and "twice" not in name)
    assert counts["records"] + left == counts["distinct facts"] > 29_000


def test_every_option_of_the_how_to_exists():
    text = (ROOT / "docs" / "how-to" / "records.md").read_text(encoding="utf-8")
    shown = "".join(
        CliRunner().invoke(app, ["data", name, "--help"], env={"COLUMNS": "200"}).stdout
        for name in ("check", "compile")
    )
    found = set(re.findall(r"--[a-z][a-z-]+", text))
    assert len(found) >= 5
    assert found <= set(re.findall(r"--[a-z][a-z-]+", shown))
