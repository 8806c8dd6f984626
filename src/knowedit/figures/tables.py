"""Tables for notebooks: HTML that needs nothing from elsewhere, and data frames of pandas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from knowedit.errors import InputError

LIGHT, DARK = (252, 240, 230), (59, 15, 112)


def html_table(
    caption: str,
    header: Sequence[object],
    rows: Sequence[Sequence[object]],
    shades: Sequence[Sequence[float]] | None = None,
) -> str:
    """A table with a caption; all texts are escaped.

    Args:
        caption: above the table.
        header: one for each column.
        rows: the first cell of each is its heading.
        shades: for each cell of a row but the first, from 0 (light) to 1 (dark); by default without colour.
    """
    head = "".join(f"<th>{escape(str(name))}</th>" for name in header)
    body = "".join(
        f"<tr><th>{escape(str(name))}</th>{_cells(cells, None if shades is None else shades[number])}</tr>"
        for number, (name, *cells) in enumerate(rows)
    )
    return (
        f'<div style="overflow-x:auto"><table><caption>{escape(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _cells(cells: Sequence[object], shades: Sequence[float] | None) -> str:
    styles = [""] * len(cells) if shades is None else [f' style="{_colours(shade)}"' for shade in shades]
    return "".join(f"<td{style}>{escape(str(cell))}</td>" for cell, style in zip(cells, styles, strict=True))


def _colours(shade: float) -> str:
    share = min(1.0, max(0.0, shade))
    red, green, blue = (round(a + share * (b - a)) for a, b in zip(LIGHT, DARK, strict=True))
    return f"background:rgb({red},{green},{blue});color:{'white' if share > 0.5 else 'black'}"


def data_frame(columns: Mapping[str, Any]) -> Any:
    """A pandas data frame.

    Args:
        columns: lists or arrays by name, all of one length.

    Raises:
        InputError: pandas is not installed.
    """
    try:
        import pandas  # type: ignore[import-untyped]
    except ImportError:
        raise InputError("a data frame needs pandas, which is not installed: pip install pandas") from None
    return pandas.DataFrame(dict(columns))
