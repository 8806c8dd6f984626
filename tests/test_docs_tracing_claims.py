"""The page of claims about tracing shows what is on record."""

import json
import re
import runpy
from pathlib import Path

import pytest

from claims.record import load_record
from claims.tracing import SECTION

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "tracing_claims.md"


def rows(name: str) -> dict[tuple[str, str], list[str]]:
    """The cells of a table by claim and model."""
    text = PAGE.read_text(encoding="utf-8")
    (found,) = re.findall(rf"<!-- {name} -->\n(.*?)<!-- end of {name} -->", text, flags=re.DOTALL)
    lines = [line for line in found.splitlines() if line.startswith("| trace.")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {(row[0], row[1].strip("`")): row for row in cells}


@pytest.mark.parametrize(("name", "full"), [("tracing by sample", False), ("tracing in full", True)])
def test_the_tables_have_the_verdicts_on_record(name: str, full: bool) -> None:
    record = {key: entry for key, entry in load_record().items() if key[0].startswith("trace.")}
    shown = rows(name)
    assert shown.keys() == record.keys()
    for key, entry in record.items():
        assert shown[key][-1] == (entry.full if full and entry.full else entry.verdict), key


def test_every_claim_has_its_bound_in_the_tables() -> None:
    shown = rows("tracing by sample")
    for claim in SECTION.claims:
        bound = f"{claim.expectation.direction} {claim.expectation.bound:g} {claim.unit}"
        assert shown[claim.id, "organism-gpt2"][5] == bound


def test_a_report_is_written_where_its_settings_say() -> None:
    made = runpy.run_path(str(ROOT / "docs" / "make_tracing_claims.py"))
    settings = {"full": False, "noise": 3.0}
    assert made["name"](settings) == "tracing by sample"
    assert made["name"](settings | {"full": True}) == "tracing in full"
    assert made["name"](settings | {"noise": 1.5}) == "tracing by sample at noise 1.5"


def test_a_row_is_what_was_measured() -> None:
    made = runpy.run_path(str(ROOT / "docs" / "make_tracing_claims.py"))
    interval = {"mean": 12.34, "low": 10.0, "high": 15.06, "n": 32}
    measured = {"value": interval, "control": interval | {"mean": 0.04}, "note": "a | b"}
    result = {
        "claim": "trace.x",
        "model": "m",
        "paper": "35",
        "unit": "%",
        "expectation": {"direction": "at least", "bound": 5.0},
        "measured": measured,
        "verdict": "HOLDS",
        "reason": "",
    }
    missing = result | {"measured": None, "verdict": "NOT MEASURED", "reason": "no editor"}
    report = json.loads(json.dumps({"results": [result, missing, result | {"claim": "rome.x"}]}))
    assert made["table"](report).splitlines()[2:] == [
        "| trace.x | `m` | 12.3 % (10.0 to 15.1) | 32 | 35 | at least 5 % | 0.0 % | HOLDS |",
        "| trace.x | `m` | – | – | 35 | at least 5 % | – | NOT MEASURED |",
        "",
        "- trace.x on `m`: a \\| b.",
        "- trace.x on `m`: no editor.",
    ]
