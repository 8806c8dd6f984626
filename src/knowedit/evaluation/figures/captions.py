"""What figures write about columns and settings."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from knowedit.errors import InputError
from knowedit.evaluation.scores.columns import COLUMNS, Column

ARROWS: Final = {"higher": "↑", "lower": "↓"}


def column(key: str) -> Column:
    """A column by its key.

    Raises:
        InputError: there is none.
    """
    if key not in COLUMNS:
        raise InputError(f"there is no column {key!r}: expected some of {', '.join(COLUMNS)}")
    return COLUMNS[key]


def heading(key: str, *, narrow: bool = False) -> str:
    """The key, which direction is better, and under it what it is in words; in one word where it is narrow."""
    known = column(key)
    name = known.name.split()[0].strip(",:") if narrow else known.name.partition(":")[0]
    return f"{key} {ARROWS[known.better]}\n{name}"


def scaled_unit(key: str) -> str:
    """The unit that a column has in Table 2."""
    known = column(key)
    if known.unit == "share of prompts":
        return "% of prompts"
    return known.unit if known.scale == 1 else f"{known.unit} × {known.scale:g}"


def number(value: float) -> str:
    """``5e-4``: short, and without the zeros that make small numbers hard to compare."""
    if value == 0 or value >= 0.01:
        return f"{value:g}"
    mantissa, _, exponent = f"{value:e}".partition("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"


def records(counts: Iterable[int]) -> str:
    """``50 records``, or ``48 to 50 records`` where some failed."""
    found = sorted(set(counts))
    return f"{found[0]:,} records" if len(found) == 1 else f"{found[0]:,} to {found[-1]:,} records"
