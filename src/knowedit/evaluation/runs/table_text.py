"""A table as Markdown and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from knowedit.evaluation.runs.tables import F1_BELOW, F2_LOSS, Row, Table
from knowedit.evaluation.scores.columns import COLUMNS
from knowedit.intervals import Interval

NOT_MEASURED = "–"


def cell(interval: Interval | None) -> str:
    """``74.1 ±0.7``, or the ends where the interval is not even about its mean on both sides."""
    if interval is None:
        return NOT_MEASURED
    below, above = f"{interval.mean - interval.low:.1f}", f"{interval.high - interval.mean:.1f}"
    if "nan" in (below, above):
        return f"{interval.mean:.1f}"
    return f"{interval.mean:.1f} ±{above}" if below == above else f"{interval.mean:.1f} −{below} +{above}"


def marks(row: Row) -> str:
    """The failures of a row, for people."""
    unknown = () if row.unedited or row.judged else ("F2?" if "PS" in row.columns else "F1? F2?",)
    return ", ".join((*row.marks, *unknown)) or ("" if row.unedited else "neither")


def count(row: Row) -> str:
    """How many records the row is of, and how many are not in it."""
    left = {"failed": row.failed, "missing": row.missing}
    return f"{row.n:,}" + "".join(f", {number:,} {word}" for word, number in left.items() if number)


def markdown(table: Table) -> str:
    """The table in Markdown; the best value of each column of a model's edited rows is bold."""
    head = ["model", "method", *COLUMNS, "fails", "records"]
    lines = [head, ["---"] * len(head), *(_line(table, row) for row in table.rows)]
    rows = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{rows}\n\n{LEGEND}\n"


LEGEND = (
    "95 % intervals over records, not corrected for several columns. "
    "ES to NM, GE and RS × 100; Essence is a perplexity, "
    "lower is better. Bold: best of the edited rows of one model and one set of records. "
    f"F1: does not generalise, PS < {F1_BELOW:g}. F2: bleeds over, NS more than {F2_LOSS:g} below the unedited model. "
    f"F2?: not judged, for want of the unedited model's run. {NOT_MEASURED}: not measured."
)


def _line(table: Table, row: Row) -> list[str]:
    cells = []
    for key in COLUMNS:
        text = cell(row.columns.get(key))
        cells.append(f"**{text}**" if table.is_best(row, key) else text)
    return [row.model, row.method, *cells, marks(row), count(row)]


def csv_text(table: Table) -> str:
    """The table as CSV: a line a row, three fields a column; a column that was not measured is empty."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    fields = [field for key in COLUMNS for field in (key, f"{key}_low", f"{key}_high")]
    writer.writerow(["model", "method", "records", "failed", "missing", "fails", *fields])
    for row in table.rows:
        writer.writerow(
            [row.model, row.method, row.n, row.failed, row.missing, " ".join(row.marks), *_numbers(row)]
        )
    return stream.getvalue()


def _numbers(row: Row) -> Iterator[float | str]:
    for key in COLUMNS:
        found = row.columns.get(key)
        yield from ("", "", "") if found is None else (found.mean, found.low, found.high)
