"""``knowedit data check``: Table 1 of a file of records, and its bad records."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from knowedit.cli.options import Json
from knowedit.cli.output import console, print_json, progress, stderr

if TYPE_CHECKING:
    from knowedit.evaluation import Check


def data_check(
    file: Annotated[Path, typer.Argument(help="Records: a JSON list, or one JSON object a line.")],
    official: Annotated[
        bool, typer.Option("--official", help="Refuse what is not the official counterfact.json, by SHA-256.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Print Table 1 of a file and every bad record; exit with 1 if there is one."""
    from knowedit.evaluation import OFFICIAL_SHA256, check_records, checksum, verify_official

    if official:
        verify_official(file)
    with progress(f"reading {file}"):
        digest, found = checksum(file), check_records(file)
    if as_json:
        print_json(_described(file, digest, found, official=digest == OFFICIAL_SHA256))
    else:
        _show(file, digest, found, official=digest == OFFICIAL_SHA256)
    if found.bad or not found.good:
        raise typer.Exit(1)


def _described(file: Path, digest: str, found: Check, *, official: bool) -> dict[str, Any]:
    return {
        "file": str(file),
        "sha256": digest,
        "official": official,
        "relations": found.table.relations,
        "table": [asdict(row) for row in found.table.rows()],
        "bad": found.bad,
        "problems": found.problems,
    }


def _show(file: Path, digest: str, found: Check, *, official: bool) -> None:
    rows = found.table.rows()
    console.print(found.table)
    which = " (the official counterfact.json)" if official else ""
    console.print(f"{escape(str(file))}: SHA-256 {digest}{which}", soft_wrap=True)
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
