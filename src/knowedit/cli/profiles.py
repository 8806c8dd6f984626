"""``knowedit profiles``: the named settings of ROME, side by side."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from knowedit.cli.options import Json
from knowedit.cli.output import console, print_json
from knowedit.editing import PROFILES
from knowedit.editing.rome.sources import described, profile_values, source
from knowedit.errors import InputError


def show_profiles(first: str | None, second: str | None, *, as_json: bool) -> None:
    """Print all profiles, one with its sources, or what differs between two.

    Raises:
        InputError: no such profile, or twice the same.
    """
    if first is not None and first == second:
        raise InputError(f"both profiles are {first!r}: name two different ones")
    names = [name for name in (first, second) if name] or list(PROFILES["rome"])
    values = {name: profile_values(name) for name in names}
    fields = [
        field for field in values[names[0]] if first is None or second is None or _differs(values, field)
    ]
    if as_json:
        print_json(
            {
                name: {
                    field: {"value": values[name][field], "source": source(name, field)} for field in fields
                }
                for name in names
            }
        )
    elif first is None:
        console.print(_overview(values, fields))
    else:
        console.print(_sourced(values, fields))


def _differs(values: dict[str, dict[str, object]], field: str) -> bool:
    return len({str(own[field]) for own in values.values()}) > 1


def _overview(values: dict[str, dict[str, object]], fields: list[str]) -> Table:
    """A row a field; a value is printed where it differs from the one to its left."""
    table = _table(values)
    for field in fields:
        cells = [escape(described(own[field])) for own in values.values()]
        shown = [cell if not i or cell != cells[i - 1] else "[dim]=[/]" for i, cell in enumerate(cells)]
        table.add_row(field, *shown)
    return table


def _sourced(values: dict[str, dict[str, object]], fields: list[str]) -> Table:
    """A row a field, each value above its source."""
    table = _table(values)
    for field in fields:
        cells = (
            f"{escape(described(own[field]))}\n[dim]{escape(source(name, field))}[/]"
            for name, own in values.items()
        )
        table.add_row(field, *cells)
    return table


def _table(names: Iterable[str]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("", no_wrap=True)
    for name in names:
        table.add_column(name, overflow="fold")
    return table


def profiles(
    first: Annotated[str | None, typer.Argument(help="A profile: show it with its sources.")] = None,
    second: Annotated[str | None, typer.Argument(help="Another one: show what differs.")] = None,
    as_json: Json = False,
) -> None:
    """Show the named settings of ROME: the paper's and those of the code once released."""
    show_profiles(first, second, as_json=as_json)
