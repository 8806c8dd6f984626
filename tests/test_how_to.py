"""The how-to pages run as they stand, block after block, and use what they say they use."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]
OWN_EDITOR = "docs/how-to/own-editor.md"
PAGES = ("docs/how-to/other-models.md", "docs/how-to/evaluate.md", "docs/how-to/records.md", OWN_EDITOR)


def code(page: str) -> str:
    """The blocks of a page, each line at its place in the page, so that a failure names it."""
    inside, lines = False, []
    for line in (ROOT / page).read_text(encoding="utf-8").splitlines():
        inside = line == "```python" or (inside and line != "```")
        lines.append(line if inside and line != "```python" else "")
    return "\n".join(lines)


@pytest.mark.parametrize("page", PAGES)
def test_the_page_runs(page, tmp_path, monkeypatch):
    """Every assertion of the page holds; the caller's random state is put back."""
    monkeypatch.chdir(tmp_path)
    state = torch.get_rng_state()
    try:
        exec(compile(code(page), page, "exec"), {})
    finally:
        torch.set_rng_state(state)


def test_other_models_need_nothing_but_linalg():
    tree = ast.walk(ast.parse(code("docs/how-to/other-models.md")))
    names = {node.module for node in tree if isinstance(node, ast.ImportFrom)}
    assert {name for name in names if name.startswith("knowedit")} == {"knowedit.linalg", "knowedit.errors"}


def test_the_page_asserts_its_results():
    tree = ast.walk(ast.parse(code("docs/how-to/other-models.md")))
    assert sum(isinstance(node, ast.Assert) for node in tree) > 30


def test_an_editor_of_ones_own_takes_at_most_fifteen_lines():
    first = (ROOT / OWN_EDITOR).read_text(encoding="utf-8").split("```python\n")[1].split("\n```")[0]
    assert len(first.splitlines()) <= 15
    assert "knowedit.evaluate(" in first
