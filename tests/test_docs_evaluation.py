"""The page of Table 2 shows what the evidence says."""

import runpy
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_tables_are_those_of_the_evidence() -> None:
    found = runpy.run_path(str(ROOT / "docs" / "make_evaluation.py"))["tables"]()
    page = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")
    assert len(found) == 4
    for name, table in found.items():
        assert f"<!-- {name} -->\n\n{table}\n\n<!-- end of {name} -->" in page, name
