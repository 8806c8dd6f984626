"""``knowedit models``: what ships with the package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.table import Table

from knowedit.bundled import bundled_models, notes
from knowedit.cli.options import Json
from knowedit.cli.output import console, print_json, safe


def models(as_json: Json = False) -> None:
    """Print every bundled model."""
    rows = [_row(name, folder) for name, folder in bundled_models().items()]
    if as_json:
        print_json(rows)
        return
    table = Table("model", "family", "layers", "recall, trained", "recall, held out", box=None)
    table.add_column("folder", overflow="fold")
    for row in rows:
        recall = (f"{row['recall'][name]:.1%}" for name in ("trained", "held_out"))
        table.add_row(
            safe(row["name"]), safe(row["family"]), str(row["layers"]), *recall, safe(row["folder"])
        )
    console.print(table)


def _row(name: str, folder: Path) -> dict[str, Any]:
    known = notes(folder)
    return {
        "name": name,
        "family": known["recipe"]["family"],
        "layers": known["recipe"]["layers"],
        "recall": known["recall"],
        "edit_layer": known["edit_layer"],
        "folder": str(folder),
    }
