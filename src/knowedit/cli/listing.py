"""``knowedit models``, ``facts`` and ``organism info``: what ships with the package."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.table import Table

from knowedit.bundled import bundled_models, notes
from knowedit.cli.output import console, percent, print_json
from knowedit.errors import InputError

KNOWN_FACTS = "known_facts.json"


def bundled_folder(name: str) -> Path:
    """The folder of a bundled model.

    Raises:
        InputError: there is no such bundled model.
    """
    folders = bundled_models()
    if name not in folders:
        known = ", ".join(folders) or "none"
        raise InputError(f"{name!r} is not a bundled model: use one of {known}")
    return folders[name]


def known_facts(name: str) -> list[dict[str, Any]]:
    """The facts that a bundled model knows: ``subject``, ``relation``, ``prompt``, ``target_true``."""
    found: list[dict[str, Any]] = json.loads((bundled_folder(name) / KNOWN_FACTS).read_text(encoding="utf-8"))
    return found


def list_models(*, as_json: bool) -> None:
    """Print every bundled model."""
    rows = [_row(name, folder) for name, folder in bundled_models().items()]
    if as_json:
        print_json(rows)
        return
    table = Table("model", "family", "layers", "recall, trained", "recall, held out", box=None)
    table.add_column("folder", overflow="fold")
    for row in rows:
        recall = row["recall"]
        table.add_row(
            row["name"],
            row["family"],
            str(row["layers"]),
            percent(recall["trained"]),
            percent(recall["held_out"]),
            row["folder"],
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


def list_facts(name: str, limit: int, *, as_json: bool) -> None:
    """Print facts that a bundled model knows."""
    facts = known_facts(name)[:limit]
    if as_json:
        print_json(facts)
        return
    table = Table("subject", "relation", "prompt", "object", box=None)
    for fact in facts:
        table.add_row(fact["subject"], fact["relation"], fact["prompt"], fact["target_true"])
    console.print(table)


def show_organism(name: str, *, as_json: bool) -> None:
    """Print how a bundled model was grown and what it knows."""
    known = notes(bundled_folder(name))
    if as_json:
        print_json(known)
        return
    table = Table(box=None, show_header=False)
    for group, value in known.items():
        for key, entry in value.items() if isinstance(value, dict) else [("", value)]:
            table.add_row(group if not key else f"{group}.{key}", str(entry))
    console.print(table)
