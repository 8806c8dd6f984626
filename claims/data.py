"""Section 5.1: the data set has the counts of Table 1."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from claims.models import Missing
from claims.registry import DATA, Claim, Expectation, Measured, Section, exactly
from claims.settings import Settings
from knowedit.evaluation import Record, iter_records
from knowedit.evaluation.records.counts import PAPER, Count, Table1

VARIABLE = "KNOWEDIT_DATA"
FILE = Path("counterfact") / "counterfact_compact.jsonl"
COUNTED = ("Records", "Subjects", "Objects", "Counterfactual Statements")
"""The rows that the compact form has whole; it has one paraphrase of two, and one neighborhood prompt of ten."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """Table 1 of the records, and of the same records spoiled."""

    rows: Sequence[Count]
    spoiled: Sequence[Count]


def gather(settings: Settings) -> Evidence:  # noqa: ARG001 - nothing is drawn
    """Count the records.

    Raises:
        Missing: the data are not here.
    """
    folder = os.environ.get(VARIABLE)
    if not folder or not (path := Path(folder) / FILE).is_file():
        raise Missing(f"no {FILE.name}: set {VARIABLE} to the folder with {FILE.parent}/{FILE.name}")
    return Evidence(
        Table1().add_all(iter_records(path)).rows(), Table1().add_all(spoil(iter_records(path))).rows()
    )


def spoil(records: Iterable[Record]) -> Iterator[Record]:
    """Every tenth record is left out, and the one after it has an invented subject and object."""
    for i, record in enumerate(records):
        if i % 10 == 1:
            names = {"subject": f"{record.fact.subject} {i}", "target_new": f"{record.fact.target_new} {i}"}
            yield replace(record, fact=replace(record.fact, **names))
        elif i % 10:
            yield record


def differences(rows: Sequence[Count]) -> list[int]:
    """How far each count is from the printed one."""
    totals = {row.name: row.total or 0 for row in rows}
    return [abs(totals[name] - PAPER[name][0]) for name in COUNTED]


def measure(evidence: Evidence) -> Measured:
    """The worst of the counts, and the best that the control has: it has to fail each of them."""
    totals = {row.name: row.total or 0 for row in evidence.rows}
    n = totals["Records"]
    worst, best = max(differences(evidence.rows)), min(differences(evidence.spoiled))
    note = ", ".join(f"{totals[name]:,} {name.lower()}" for name in COUNTED)
    return Measured(exactly(worst, n), exactly(best, n), note)


SECTION: Section[Evidence] = Section(
    name="data",
    title="Section 5.1: COUNTERFACT",
    about="The distinct texts of all records are counted; no model is needed.",
    claims=(
        Claim(
            id="data.table1",
            place="Table 1",
            statement="COUNTERFACT has 21,919 records, 20,391 subjects, 749 objects and 21,595 statements.",
            quantity="the largest difference of the four counts from the printed ones",
            unit="",
            paper="0",
            expectation=Expectation("at most", 0),
            control="every tenth record left out and another tenth with invented subjects and objects; "
            "the smallest difference of the four",
            measure=measure,
            digits=".0f",
        ),
    ),
    without_model={DATA: gather},
)
