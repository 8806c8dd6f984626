"""``knowedit data``: check files of records, and compile new ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import typer
from rich.markup import escape
from rich.table import Table

from knowedit.cli.output import console, print_json, stderr
from knowedit.evaluation import OFFICIAL_SHA256, Check, Count, check_records, checksum, verify_official

COLUMNS = ("total", "per relation", "per record")


def check_file(file: Path, *, official: bool, as_json: bool) -> None:
    """Print Table 1 of a file and every bad record; exit with 1 if there is one."""
    if official:
        verify_official(file)
    with stderr.status(f"reading {escape(str(file))}"):
        digest, found = checksum(file), check_records(file)
    if as_json:
        print_json(_described(file, digest, found))
    else:
        _show(file, digest, found)
    if found.bad or not found.good:
        raise typer.Exit(1)


def _described(file: Path, digest: str, found: Check) -> dict[str, Any]:
    return {
        "file": str(file),
        "sha256": digest,
        "official": digest == OFFICIAL_SHA256,
        "relations": found.table.relations,
        "table": [asdict(row) for row in found.table.rows()],
        "bad": found.bad,
        "problems": found.problems,
    }


def _show(file: Path, digest: str, found: Check) -> None:
    rows = found.table.rows()
    console.print(table_of(rows))
    official = " (the official counterfact.json)" if digest == OFFICIAL_SHA256 else ""
    console.print(f"{escape(str(file))}: SHA-256 {digest}{official}", soft_wrap=True)
    for row in rows:
        if 0 < row.records < found.good:
            console.print(f"{row.records:,} of {found.good:,} records have {row.name.lower()}")
    for problem in found.problems:
        stderr.print(f"[bold red]bad:[/] {escape(problem)}")
    if found.bad:
        more = f"; the first {len(found.problems)} are named" if found.bad > len(found.problems) else ""
        stderr.print(f"{found.bad:,} bad, {found.good:,} good{more}")
    elif not found.good:
        stderr.print("[bold red]bad:[/] the file holds no record")


def table_of(rows: Sequence[Count]) -> Table:
    """Table 1 for the screen."""
    table = Table("", title="Table 1")
    for name in COLUMNS:
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(row.name, *cells(row))
    return table


def cells(row: Count) -> tuple[str, str, str]:
    """The numbers of a row as the paper prints them; ``-`` for what the file does not have."""
    total = "-" if row.total is None else f"{row.total:,}"
    per_relation = "-" if row.per_relation is None else f"{row.per_relation:,.0f}"
    return total, per_relation, "-" if row.per_record is None else f"{row.per_record:.1f}".removesuffix(".0")
