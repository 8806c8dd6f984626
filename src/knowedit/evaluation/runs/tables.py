"""Table 2 from run folders: columns with intervals, the best of each, and the two failures."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np

from knowedit.errors import InputError
from knowedit.evaluation.runs.folder import Run
from knowedit.evaluation.scores.columns import COLUMNS
from knowedit.evaluation.scores.record_scores import RecordScores
from knowedit.evaluation.scores.summary import summarise
from knowedit.intervals import Interval

UNEDITED: Final = "none"
F1_BELOW: Final = 80.0
"""F1, it does not generalise: PS is below this, in per cent."""
F2_LOSS: Final = 10.0
"""F2, it bleeds over: NS is more than this below that of the unedited model, in points.

Both bounds are ours: Table 2 marks the failures and names no bound. With these the paper's own rows get the
marks that its text gives them, on both models (ROME neither, every other editor at least one).
"""
PAPER: Final = Path(__file__).with_name("paper_table2.json")


@dataclass(frozen=True)
class Row:
    """One row: a method on a model.

    Attributes:
        method: its name.
        model: the model's.
        columns: on the scale of Table 2; a column that was not measured is missing.
        n: records that were scored.
        failed: records that failed.
        missing: records that have not been measured yet.
        group: rows of one group have the same model and records, so they can be compared.
        marks: F1 and F2.
        judged: whether both could be judged, F2 needs the unedited model.
    """

    method: str
    model: str
    columns: Mapping[str, Interval]
    n: int
    failed: int = 0
    missing: int = 0
    group: str = ""
    marks: tuple[str, ...] = ()
    judged: bool = True

    @property
    def unedited(self) -> bool:
        """Whether it is the model as it is."""
        return self.method == UNEDITED


@dataclass(frozen=True)
class Table:
    """Rows in their order, marked."""

    rows: tuple[Row, ...]

    @cached_property
    def best(self) -> frozenset[tuple[str, str, str]]:
        """Group, column and method of the best value of each column among the edited rows of a group."""
        found = set()
        for group in {row.group for row in self.rows}:
            edited = [row for row in self.rows if row.group == group and not row.unedited]
            for key, column in COLUMNS.items():
                values = {row.method: row.columns[key].mean for row in edited if key in row.columns}
                if len(values) > 1:
                    best = max(values.values()) if column.better == "higher" else min(values.values())
                    found |= {(group, key, method) for method, value in values.items() if value == best}
        return frozenset(found)

    def is_best(self, row: Row, key: str) -> bool:
        """Whether a row has the best value of a column in its group."""
        return (row.group, key, row.method) in self.best


def make_table(rows: Sequence[Row]) -> Table:
    """Mark the failures by the unedited row of the same group.

    Raises:
        InputError: two rows of a group with the same method.
    """
    unedited = {row.group: row for row in rows if row.unedited}
    seen = set()
    for row in rows:
        if (row.group, row.method) in seen:
            raise InputError(
                f"two runs are of {row.method} on {row.model} with the same records: give one of them"
            )
        seen.add((row.group, row.method))
    return Table(tuple(_marked(row, unedited.get(row.group)) for row in rows))


def _marked(row: Row, unedited: Row | None) -> Row:
    if row.unedited:
        return row
    marks = []
    if "PS" in row.columns and row.columns["PS"].mean < F1_BELOW:
        marks.append("F1")
    comparable = unedited is not None and "NS" in unedited.columns and "NS" in row.columns
    if unedited is not None and comparable:
        loss = unedited.columns["NS"].mean - row.columns["NS"].mean
        marks += ["F2"] if loss > F2_LOSS else []
    return replace(row, marks=tuple(marks), judged=comparable and "PS" in row.columns)


def run_row(run: Run, seed: int = 0) -> Row:
    """The row of a run.

    Args:
        run: finished or not.
        seed: draws the resamples of the intervals.

    Raises:
        InputError: no record was scored.
    """
    if not run.scored:
        raise InputError(
            f"no record of {run.path} was scored ({len(run.failed)} failed): nothing to put in a table"
        )
    scores = [RecordScores.from_json(outcome.scores or {}) for outcome in run.scored]
    found = summarise(scores, np.random.default_rng(seed))
    names = run.manifest["names"]
    return Row(
        method=str(names.get("method", run.identity.get("method"))),
        model=str(names.get("model", run.identity["model"][:12])),
        columns={key: interval.scaled(COLUMNS[key].scale) for key, interval in found.items()},
        n=len(run.scored),
        failed=len(run.failed),
        missing=run.missing,
        group=f"{run.identity['model']} {run.identity['records']['sha256']}",
    )


def paper_models() -> tuple[str, ...]:
    """The models whose rows the paper has."""
    return tuple(json.loads(PAPER.read_text(encoding="utf-8"))["models"])


def paper_rows(model: str) -> list[Row]:
    """The rows of Table 2 in the paper.

    Args:
        model: ``gpt2-xl`` or ``gpt-j``.

    Raises:
        InputError: another one.
    """
    models = json.loads(PAPER.read_text(encoding="utf-8"))["models"]
    if model not in models:
        raise InputError(f"the paper has no rows of {model!r}: use one of {', '.join(models)}")
    told = models[model]
    return [
        Row(
            method,
            f"{told['name']} (paper)",
            {key: _told(*pair, n=told["records"]) for key, pair in columns.items()},
            told["records"],
            group=f"paper {model}",
        )
        for method, columns in told["rows"].items()
    ]


def _told(mean: float, half: float, *, n: int) -> Interval:
    return Interval(mean, mean - half, mean + half, n)
