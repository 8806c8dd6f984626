"""The figures of the documentation are those of the current code."""

from __future__ import annotations

import json
import re
import runpy

import pytest

import knowedit
from tests.test_docs import ROOT

FOLDER = ROOT / "docs" / "figures"


def test_the_numbers_are_those_of_the_code():
    script = runpy.run_path(str(ROOT / "docs" / "make_figures.py"))
    stored = json.loads((FOLDER / "figures.json").read_text(encoding="utf-8"))["organism-gpt2"]["hidden"]
    own = script["numbers"](script["trace"](knowedit.load("organism-gpt2")))
    assert list(own["tokens"]) == stored["tokens"]
    assert own["restored"] != []
    for mine, kept in zip(own["restored"], stored["restored"], strict=True):
        assert mine == pytest.approx(kept, abs=1e-3), "run docs/make_figures.py"


def test_every_figure_is_shown_and_there():
    page = (ROOT / "docs" / "tracing.md").read_text(encoding="utf-8")
    shown = set(re.findall(r"\(figures/([a-z0-9-]+\.svg)\)", page))
    assert shown == {path.name for path in FOLDER.glob("*.svg")}
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 1_100_000
