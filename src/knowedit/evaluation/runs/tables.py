"""Table 2 from run folders: columns with intervals, the best of each, and the two failures; as Markdown, CSV, HTML."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from html import escape
from math import isfinite
from typing import Any, Final

import numpy as np

from knowedit.errors import InputError
from knowedit.evaluation.runs.run import Run
from knowedit.evaluation.runs.station import UNEDITED as UNEDITED
from knowedit.evaluation.scores.columns import TOKEN_COLUMNS, Column
from knowedit.evaluation.scores.record_scores import RecordScores
from knowedit.evaluation.scores.summary import summarise
from knowedit.figures.tables import data_frame
from knowedit.intervals import FEW, Interval
from knowedit.text import csv_cell, markdown_cell, visible

F1_BELOW: Final = 80.0
"""F1, it does not generalise: PS is below this, in per cent."""
F2_LOSS: Final = 10.0
"""F2, it bleeds over: NS is more than this below that of the unedited model, in points.

Both bounds are ours: Table 2 marks the failures and names no bound. With these the paper's own rows get the
marks that its text gives them, on both models (ROME neither, every other editor at least one).
"""

LONGEST: Final = 24
"""Characters of a setting in the name of a row."""
NOT_MEASURED: Final = "–"
LEGEND: Final = (
    "95 % intervals over records, not corrected for several columns. "
    "ES to NM, GE and RS × 100; Essence is a perplexity, "
    "lower is better. Bold: best of the edited rows of one model and one set of records. "
    f"F1: does not generalise, PS < {F1_BELOW:g}. F2: bleeds over, NS more than {F2_LOSS:g} below the unedited model. "
    f"F2?: not judged, since the unedited model's run is missing. {NOT_MEASURED}: not measured."
)
TOKEN_LEGEND: Final = (
    "Acc, Loc and Port: tokens of the answers, × 100. Acc: predicted after the request. Loc: as the unedited model "
    "predicts them, after locality prompts. Port: predicted after portability prompts. "
    "F2? also where records have no neighborhood prompts."
)

FEW_LEGEND: Final = (
    f"Few: less than {FEW} records, too few for the bootstrap: their intervals are Student's, or Wilson's where all "
    "values are alike; take more records before you compare."
)


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
        settings: what else makes the run this run, flat; it tells two rows of one method apart.
        specificity: NS of each record, on the scale of Table 2, by which record of which model it is.
        shared: of how many records F2 was judged, where these are not all of the row's.
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
    settings: Mapping[str, Any] = field(default_factory=dict, repr=False)
    specificity: Mapping[str, float] = field(default_factory=dict, repr=False)
    shared: int | None = None
    marks: tuple[str, ...] = ()
    judged: bool = True

    @property
    def unedited(self) -> bool:
        """Whether it is the model as it is."""
        return self.method == UNEDITED

    def cell(self, key: str) -> str:
        """A column for people: ``74.1 ±0.7``, or the ends where the interval is not even about its mean."""
        found = self.columns.get(key)
        if found is None:
            return NOT_MEASURED
        below, above = f"{found.mean - found.low:.1f}", f"{found.high - found.mean:.1f}"
        if "nan" in (below, above):
            return f"{found.mean:.1f}"
        return f"{found.mean:.1f} ±{above}" if below == above else f"{found.mean:.1f} −{below} +{above}"

    @property
    def fails(self) -> str:
        """The failures, for people."""
        unknown = () if self.unedited or self.judged else ("F2?" if "PS" in self.columns else "F1? F2?",)
        return ", ".join((*self.marks, *unknown)) or ("" if self.unedited else "neither")

    @property
    def records(self) -> str:
        """How many records it is of, and how many are not in it, for people."""
        left = {"failed": self.failed, "missing": self.missing}
        told = f"{self.n:,}" + " (few)" * (self.n < FEW)
        told += "".join(f", {number:,} {word}" for word, number in left.items() if number)
        return told if self.shared is None else f"{told}, F2 by {self.shared:,}"


@dataclass(frozen=True)
class Table:
    """Rows in their order, marked."""

    rows: tuple[Row, ...]

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """The columns: those of Table 2, and of the others those that a row has."""
        return Column.keys(row.columns for row in self.rows)

    @property
    def legend(self) -> str:
        """What people have to know of the columns."""
        few = f" {FEW_LEGEND}" if any(row.n < FEW for row in self.rows) else ""
        token = f" {TOKEN_LEGEND}" if set(self.keys) & set(TOKEN_COLUMNS) else ""
        return f"{LEGEND}{token}{few}"

    @cached_property
    def best(self) -> frozenset[tuple[str, str, str]]:
        """Group, column and method of the best value of each column among the edited rows of a group."""
        found = set()
        for group in {row.group for row in self.rows}:
            edited = [row for row in self.rows if row.group == group and not row.unedited]
            for key in self.keys:
                column = Column.of(key)
                values = {row.method: row.columns[key].mean for row in edited if key in row.columns}
                if len(values) > 1:
                    best = max(values.values()) if column.better == "higher" else min(values.values())
                    found |= {(group, key, method) for method, value in values.items() if value == best}
        return frozenset(found)

    def is_best(self, row: Row, key: str) -> bool:
        """Whether a row has the best value of a column in its group."""
        return (row.group, key, row.method) in self.best

    def markdown(self) -> str:
        """The table in Markdown; the best value of each column of a model's edited rows is bold."""
        head = ["model", "method", *self.keys, "fails", "records"]
        lines = [head, ["---"] * len(head), *(self._line(row, "**{}**", markdown_cell) for row in self.rows)]
        rows = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        return f"{rows}\n\n{self.legend}\n"

    def csv(self) -> str:
        """The table as CSV: a line a row, three fields a column; a column that was not measured is empty.

        Numbers have two decimals; no text is a formula to a spreadsheet.
        """
        stream = io.StringIO()
        writer = csv.DictWriter(stream, self._fields, lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: _csv(value) for name, value in one.items()} for one in self._flat())
        return stream.getvalue()

    def to_pandas(self) -> Any:
        """A data frame with a line a row and three fields a column.

        Raises:
            InputError: pandas is not installed.
        """
        rows = list(self._flat())
        return data_frame({field: [row[field] for row in rows] for field in self._fields})

    def _repr_html_(self) -> str:
        head = "".join(
            f"<th>{escape(name)}</th>" for name in ("model", "method", *self.keys, "fails", "records")
        )
        rows = "".join(
            "<tr>" + "".join(f"<td>{one}</td>" for one in self._line(row, "<b>{}</b>", _html)) + "</tr>"
            for row in self.rows
        )
        return f"<table><tr>{head}</tr>{rows}</table><p>{escape(self.legend)}</p>"

    def _line(self, row: Row, bold: str, text: Callable[[str], str]) -> list[str]:
        """The cells of a row; ``text`` is applied to the names, which may be anything."""
        cells = []
        for key in self.keys:
            cell = row.cell(key)
            cells.append(bold.format(cell) if self.is_best(row, key) else cell)
        return [text(row.model), text(row.method), *cells, row.fails, row.records]

    @property
    def _fields(self) -> list[str]:
        named = ("model", "method", "records", "failed", "missing", "fails")
        return [*named, *(name for key in self.keys for name, _ in _ends(key, None))]

    def _flat(self) -> list[dict[str, Any]]:
        return [
            {
                "model": row.model,
                "method": row.method,
                "records": row.n,
                "failed": row.failed,
                "missing": row.missing,
                "fails": row.fails,
                **{name: value for key in self.keys for name, value in _ends(key, row.columns.get(key))},
            }
            for row in self.rows
        ]


def _csv(value: str | float | None) -> str:
    if value is None or (isinstance(value, float) and not isfinite(value)):
        return ""
    return f"{value:.2f}" if isinstance(value, float) else csv_cell(str(value))


def _html(text: str) -> str:
    return escape(visible(text))


def _ends(key: str, found: Interval | None) -> list[tuple[str, float | None]]:
    values = (None, None, None) if found is None else (found.mean, found.low, found.high)
    return list(zip((key, f"{key}_low", f"{key}_high"), values, strict=True))


def make_table(rows: Sequence[Row]) -> Table:
    """Tell rows of one method apart by the settings that differ, and mark the failures.

    F2 is judged by the unedited row of the same model that shares the most records, on those that the two share.

    Raises:
        InputError: two rows of a group with the same method and settings.
    """
    unedited = [row for row in rows if row.unedited]
    return Table(tuple(_marked(row, unedited) for row in _told_apart(rows)))


def _told_apart(rows: Sequence[Row]) -> list[Row]:
    """The rows; what differs between those of one method and group is part of its name.

    Raises:
        InputError: nothing differs.
    """
    found = []
    for row in rows:
        alike = [one for one in rows if (one.group, one.method) == (row.group, row.method)]
        names = dict.fromkeys(name for one in alike for name in one.settings)
        differing = [name for name in names if len({str(one.settings.get(name)) for one in alike}) > 1]
        own = [tuple(str(one.settings.get(name)) for name in differing) for one in alike]
        if len(set(own)) < len(alike):
            raise InputError(
                f"two runs are of {row.method} on {row.model} with the same records and settings: give one of them"
            )
        told = ", ".join(f"{name} {_setting(row.settings.get(name))}" for name in differing)
        found.append(replace(row, method=f"{row.method} ({told})") if told else row)
    return found


def _setting(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return str(value) if len(str(value)) <= LONGEST else f"{str(value)[:LONGEST]}…"


def _marked(row: Row, unedited: Sequence[Row]) -> Row:
    if row.unedited:
        return row
    marks = ["F1"] if "PS" in row.columns and row.columns["PS"].mean < F1_BELOW else []
    loss, shared = _loss(row, unedited)
    marks += ["F2"] if loss is not None and loss > F2_LOSS else []
    judged = loss is not None and "PS" in row.columns
    return replace(row, marks=tuple(marks), judged=judged, shared=shared if shared != row.n else None)


def _loss(row: Row, unedited: Sequence[Row]) -> tuple[float | None, int | None]:
    """By how much NS is below that of the unedited model, and on how many records; None where it cannot be known."""
    same = next((one for one in unedited if one.group == row.group), None)
    if same is not None and same.specificity.keys() == row.specificity.keys():
        comparable = "NS" in same.columns and "NS" in row.columns
        return (same.columns["NS"].mean - row.columns["NS"].mean, row.n) if comparable else (None, None)
    best = max(unedited, key=lambda one: len(one.specificity.keys() & row.specificity.keys()), default=None)
    shared = sorted(best.specificity.keys() & row.specificity.keys()) if best is not None else []
    if best is None or not shared:
        return None, None
    return float(np.mean([best.specificity[one] - row.specificity[one] for one in shared])), len(shared)


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
    names = run.manifest.get("names", {})
    return Row(
        method=str(names.get("method", run.identity.get("method"))),
        model=str(names.get("model", run.identity["model"][:12])),
        columns={key: interval.scaled(Column.of(key).scale) for key, interval in found.items()},
        n=len(run.scored),
        failed=len(run.failed),
        missing=run.missing,
        group=f"{run.identity['model']} {run.identity['records']['sha256']}",
        settings=_flat_settings(run.identity),
        specificity=_specificity(run),
    )


def _flat_settings(identity: Mapping[str, Any]) -> dict[str, Any]:
    """The editor's by their own names, and the rest of an identity, but for what a group has in common."""
    found: dict[str, Any] = {}
    for name, value in {**identity.get("settings", {}), **identity}.items():
        if name not in ("settings", "model", "records", "method"):
            inner = value if isinstance(value, Mapping) else {"": value}
            found |= {f"{name} {key}".strip(): one for key, one in inner.items()}
    return found


def _specificity(run: Run) -> dict[str, float]:
    """NS by model and record; in runs that hold no digests of records, by what their records are as a whole."""
    digests = run.manifest.get("cases")
    known = digests if isinstance(digests, Mapping) else {}
    model, whole = run.identity["model"], run.identity["records"]["sha256"]
    found = {}
    for outcome in run.scored:
        value = RecordScores.from_json(outcome.scores or {}).columns.get("NS")
        if value is not None:
            record = known.get(str(outcome.case_id), f"{whole} {outcome.case_id}")
            found[f"{model} {record}"] = value * Column.of("NS").scale
    return found
