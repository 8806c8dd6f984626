"""``knowedit organism info``: how a bundled model was trained and what it knows."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from knowedit.bundled import bundled_models, notes
from knowedit.cli.options import Json
from knowedit.cli.output import console, print_json, safe


def organism_info(
    name: Annotated[str, typer.Argument(help="A bundled model's name.")], as_json: Json = False
) -> None:
    """Print the notes of a bundled model."""
    known = notes(bundled_models()[name])
    if as_json:
        print_json(known)
        return
    table = Table(box=None, show_header=False)
    for group, value in known.items():
        for key, entry in value.items() if isinstance(value, dict) else [("", value)]:
            table.add_row(safe(group if not key else f"{group}.{key}"), safe(entry))
    console.print(table)
