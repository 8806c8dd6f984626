"""``knowedit models``: the models that have a name here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.table import Table

from knowedit.bundled import Weights, notes, own_models
from knowedit.cli.options import Json
from knowedit.cli.output import console, print_json, safe


def models(as_json: Json = False) -> None:
    """Print every model that has a name here, and where its weights are."""
    rows = [_row(name, folder) for name, folder in own_models().items()]
    if as_json:
        print_json(rows)
        return
    table = Table(box=None)
    table.add_column("model", no_wrap=True)
    for column in ("family", "layers", "recall, trained", "recall, held out"):
        table.add_column(column)
    table.add_column("weights", overflow="fold")
    for row in rows:
        recall = [f"{row['recall'][name]:.1%}" if row["recall"] else "" for name in ("trained", "held_out")]
        weights = row["weights"] or f"not here: {row['install']}"
        table.add_row(safe(row["name"]), safe(row["family"]), str(row["layers"]), *recall, safe(weights))
    console.print(table)


def _row(name: str, folder: Path) -> dict[str, Any]:
    known = notes(folder)
    shape = known.get("recipe", known)
    return {
        "name": name,
        "family": shape["family"],
        "layers": shape["layers"],
        "recall": known.get("recall"),
        "edit_layer": known.get("edit_layer"),
        "folder": str(folder),
        **_weights(folder),
    }


def _weights(folder: Path) -> dict[str, str | None]:
    """Where the weights are, and what brings those that are not in this package."""
    elsewhere = Weights.of(folder)
    if elsewhere is None:
        return {"weights": str(folder), "install": None}
    path = elsewhere.installed
    return {"weights": None if path is None else str(path), "install": elsewhere.command}
