"""``knowedit profiles``: the named settings of ROME, side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer
from rich.table import Table

from knowedit.cli.options import Json
from knowedit.cli.output import console, print_json, safe
from knowedit.errors import InputError

Values = Mapping[str, Mapping[str, tuple[Any, str]]]
"""Name of a profile, then field, then the value and its source."""


def profiles(
    first: Annotated[str | None, typer.Argument(help="A profile: show it with its sources.")] = None,
    second: Annotated[str | None, typer.Argument(help="Another one: show what differs.")] = None,
    as_json: Json = False,
) -> None:
    """Print all profiles, one with its sources, or what differs between two."""
    from knowedit.editing.rome.profiles import NUMBERS
    from knowedit.editing.rome.sources import sourced_values

    if first is not None and first == second:
        raise InputError(f"both profiles are {first!r}: name two different ones")
    names = [name for name in (first, second) if name is not None] or list(NUMBERS)
    values = {name: sourced_values(name) for name in names}
    fields = [field for field in values[names[0]] if second is None or _differs(values, field)]
    if as_json:
        shown = {
            name: {field: dict(zip(("value", "source"), own[field], strict=True)) for field in fields}
            for name, own in values.items()
        }
        print_json(shown)
    else:
        console.print(_table(values, fields, sourced=first is not None))


def _differs(values: Values, field: str) -> bool:
    return len({str(own[field][0]) for own in values.values()}) > 1


def _table(values: Values, fields: list[str], *, sourced: bool) -> Table:
    """A row a field; each value above its source, or printed where it differs from the one to its left."""
    from knowedit.editing.rome.sources import described

    table = Table(box=None, pad_edge=False)
    table.add_column("", no_wrap=True)
    for name in values:
        table.add_column(name, overflow="fold")
    for field in fields:
        cells = [safe(described(own[field][0])) for own in values.values()]
        if sourced:
            sources = [safe(own[field][1]) for own in values.values()]
            cells = [f"{cell}\n[dim]{from_}[/]" for cell, from_ in zip(cells, sources, strict=True)]
        else:
            cells = [cell if not i or cell != cells[i - 1] else "[dim]=[/]" for i, cell in enumerate(cells)]
        table.add_row(field, *cells)
    return table
