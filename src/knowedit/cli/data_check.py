"""``knowedit data check``: Table 1 of a file of records, and its bad records."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from knowedit.cli.options import Json
from knowedit.cli.output import console, print_json, progress, safe, stderr

if TYPE_CHECKING:
    from knowedit.evaluation.records.counts import Table1

NAMED = 100
"""At most this many bad records are named; all are counted."""


def data_check(
    file: Annotated[
        Path, typer.Argument(help="Records: a JSON list, one JSON object a line, or one object; .gz too.")
    ],
    official: Annotated[
        bool, typer.Option("--official", help="Refuse what is not the official counterfact.json, by SHA-256.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Print Table 1 of a file and every bad record; exit with 1 if there is one."""
    from knowedit.evaluation.records.counts import Table1, check_records
    from knowedit.evaluation.records.files import OFFICIAL_SHA256, checksum

    with progress(f"reading {file}"):
        digest, table = checksum(file, official=official), Table1()
        problems = list(check_records(file, table))
    if as_json:
        print_json(_described(file, digest, table, problems, official=digest == OFFICIAL_SHA256))
    else:
        _show(file, digest, table, problems, official=digest == OFFICIAL_SHA256)
    if problems or not table.records:
        raise typer.Exit(1)


def _described(
    file: Path, digest: str, table: Table1, problems: list[str], *, official: bool
) -> dict[str, Any]:
    return {
        "file": str(file),
        "sha256": digest,
        "official": official,
        "relations": table.relations,
        "table": [asdict(row) for row in table.rows()],
        "left_out": table.left_out.reasons,
        "without_true_object": table.without_truth,
        "without_answer": table.without_answer,
        "bad": len(problems),
        "problems": problems[:NAMED],
    }


def _show(file: Path, digest: str, table: Table1, problems: list[str], *, official: bool) -> None:
    rows, good = table.rows(), table.records
    console.print(table)
    which = " (the official counterfact.json)" if official else ""
    console.print(f"{safe(file)}: SHA-256 {digest}{which}", soft_wrap=True)
    for row in rows:
        if 0 < row.records < good:
            console.print(f"{row.records:,} of {good:,} records have {row.name.lower()}")
    if table.without_truth:
        console.print(
            f"{good - table.without_truth:,} of {good:,} records have a true object; ES to NM need one"
        )
    if table.without_answer:
        console.print(
            f"{table.without_answer:,} locality or portability prompts have no answer and are not scored"
        )
    if table.left_out.count:
        console.print(f"[yellow]of the records {safe(table.left_out)}[/]", soft_wrap=True)
    for problem in problems[:NAMED]:
        stderr.print(f"[bold red]bad:[/] {safe(problem)}")
    if problems:
        more = f"; the first {NAMED} are named" if len(problems) > NAMED else ""
        stderr.print(f"{len(problems):,} bad, {good:,} good{more}")
    elif not good:
        stderr.print("[bold red]bad:[/] the file holds no record")
