"""Table 2 as a picture: a panel for each column, a bar with its interval for each method."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import TYPE_CHECKING, Final

from knowedit.errors import InputError
from knowedit.evaluation.figures.captions import record_counts
from knowedit.evaluation.runs.tables import Row, Table
from knowedit.evaluation.scores.columns import Column
from knowedit.figures import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HEIGHT: Final = 0.21
"""Inches of a bar."""
RULES: Final = "95 % intervals; dark: best of the edited models; light and dashed: the unedited model"


def bars(table: Table) -> Figure:
    """A block of panels for each group of rows; a column that no row has is left out.

    Raises:
        InputError: a table without rows, or one in which nothing is measured.
    """
    keys = [key for key in table.keys if any(key in row.columns for row in table.rows)]
    if not keys:
        raise InputError("the table has no measured value: give the run of at least one scored record")
    groups = [[row for row in table.rows if row.group == group] for group in _groups(table)]
    sizes = [len(rows) for rows in groups]
    width, height = 1.0 + 1.2 * len(keys), 0.9 + HEIGHT * sum(sizes) + 0.65 * len(groups)
    with style.drawing(width=width, height=height) as figure:
        grid = figure.subplots(
            len(groups), len(keys), squeeze=False, sharex="col", sharey="row", height_ratios=sizes
        )
        for panels, rows in zip(grid, groups, strict=True):
            _draw_block(panels, rows, keys, table)
        for axes, key in zip(grid[0], keys, strict=True):
            axes.set_title(Column.of(key).heading(narrow=True))
        _name_blocks(list(grid[:, 0]), groups)
        figure.suptitle(RULES, fontsize=9)
        return figure


def _groups(table: Table) -> list[str]:
    return list(dict.fromkeys(row.group for row in table.rows))


def _name_blocks(panels: Sequence[Axes], groups: Sequence[Sequence[Row]]) -> None:
    """Model and records to the left above each block; above the first, over the headings of the columns."""
    for place, (axes, rows) in enumerate(zip(panels, groups, strict=True)):
        name = f"{rows[0].model}, {record_counts(row.n for row in rows)}"
        text = style.plain(name) + "\n\n" * (place == 0)
        axes.set_title(text, loc="left", y=1.0, fontweight="bold", linespacing=1.7)


def _draw_block(panels: Sequence[Axes], rows: Sequence[Row], keys: Sequence[str], table: Table) -> None:
    for axes, key in zip(panels, keys, strict=True):
        for place, row in enumerate(rows):
            if key in row.columns:
                _bar(axes, place, row, key, dark=table.is_best(row, key))
            else:
                axes.text(0, place, " –", va="center", fontsize=7)
        axes.axvline(0, color="black", linewidth=0.6)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.tick_params(axis="x", labelsize=7)
    panels[0].set_yticks(range(len(rows)), [style.plain(row.method) for row in rows])


def _bar(axes: Axes, place: int, row: Row, key: str, *, dark: bool) -> None:
    found = row.columns[key]
    colour = style.OTHER if row.unedited else style.COLOURS[0] if dark else style.FILL
    axes.barh(place, found.mean, 0.75, color=colour, edgecolor="black", linewidth=0.4)
    if isfinite(found.low) and isfinite(found.high):
        # The white rim shows what lies inside a dark bar.
        for rim, width in (("white", 3), ("black", 1)):
            axes.hlines(place, found.low, found.high, color=rim, linewidth=width)
    if row.unedited:
        axes.axvline(found.mean, color="black", linestyle="--", linewidth=0.7)
