"""The real data's spans: the whole check where the data are at hand, and the script's own rules always."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import make_tokenizer

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "docs" / "check_spans.py"
PAGE = (ROOT / "docs" / "spans.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def script() -> dict:
    return runpy.run_path(str(SCRIPT))


@pytest.mark.skipif(
    "KNOWEDIT_DATA" not in os.environ, reason="KNOWEDIT_DATA names no folder with COUNTERFACT's records"
)
def test_the_page_says_what_the_data_say(script):
    counts, exceptions = script["report"](Path(os.environ["KNOWEDIT_DATA"]))
    assert counts in PAGE, "run docs/check_spans.py"
    assert exceptions in PAGE, "run docs/check_spans.py"


def test_the_page_lists_as_many_exceptions_as_it_counts():
    counted = 0
    for question in ("the last token also holds", "tokens decode to something else", "cannot be written"):
        (line,) = [line for line in PAGE.splitlines() if line.startswith(f"| {question}")]
        counted += sum(int(cell.replace(",", "")) for cell in line.split("|")[2:-1])
    listed = PAGE.split("<!-- span exceptions -->")[1].split("<!-- end")[0]
    assert listed.count("\n| COUNTERFACT") + listed.count("\n| known fact") == counted > 0
    (texts,) = [line for line in PAGE.splitlines() if line.startswith("| texts |")]
    assert texts == "| texts | 21,919 | 21,919 | 1,209 |"


def test_how_tokens_may_differ_from_the_subject(script):
    row = script["Row"]("data", 1, "The Jr.'s city", "Jr.")
    assert script["kind"](row, "Jr.") == script["EXACT"]
    assert script["kind"](row, " Jr.") == script["SPACE"]
    assert script["kind"](row, " Jr.'") == script["SHARED"]
    for said in ("Jr", "The Jr.", "Jr.'s", "r.", " Jr.,"):
        assert script["kind"](row, said) == script["OTHER"]


@pytest.mark.parametrize(
    ("text", "subject", "problem"),
    [
        ("Paris is", "Paris", None),
        ("{| x\n Paris is", "Paris", "braces of its own"),
        ("The a{}b is", "a{}b", None),
    ],
)
def test_what_cannot_be_a_template(script, text, subject, problem):
    tokenizer = make_tokenizer()
    row = script["Row"]("data", 1, text, subject)
    assert script["template_problem"](tokenizer, row) == problem
    assert script["decoded"](tokenizer, row).strip() == subject


def test_without_the_data_it_says_what_is_missing():
    env = {name: value for name, value in os.environ.items() if name != "KNOWEDIT_DATA"}
    done = subprocess.run(
        [sys.executable, str(SCRIPT)], env=env, capture_output=True, text=True, check=False, timeout=100
    )
    assert done.returncode == 1
    assert "set KNOWEDIT_DATA" in done.stderr
