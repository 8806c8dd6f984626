"""``knowedit data``: check files of records, and compile new ones."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import typer
from rich.markup import escape
from rich.table import Table

from knowedit.cli.output import console, print_json, stderr
from knowedit.errors import InputError
from knowedit.evaluation import (
    OFFICIAL_SHA256,
    Check,
    Count,
    Table1,
    check_records,
    checksum,
    verify_official,
)
from knowedit.evaluation.records.compiler import (
    Compiled,
    CompilerSettings,
    compile_records,
    read_facts,
    read_templates,
)
from knowedit.evaluation.records.compiler.sources import source_digest
from knowedit.tensorfile import write_bytes

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


@dataclass(frozen=True)
class CompileRequest:
    """The options of ``knowedit data compile``."""

    facts: Path
    templates: Path
    generation: Path | None
    out: Path
    limit: int | None
    seed: int
    force: bool
    settings: CompilerSettings


def compile_file(request: CompileRequest, *, as_json: bool) -> None:
    """Compile records, write them and their manifest, and print what was left out."""
    manifest_file = request.out.with_name(request.out.name + ".manifest.json")
    for path in (request.out, manifest_file):
        if path.exists() and not request.force:
            raise InputError(f"{path} exists already: give another path, or --force to replace it")
    with stderr.status("compiling"):
        compiled = _compiled(request)
        records = compiled.records
        if request.limit is not None and request.limit < len(records):
            drawn = random.Random(f"limit {request.seed}").sample(range(len(records)), request.limit)
            records = [records[i] for i in sorted(drawn)]
        content = _content(request.out, [record.as_json() for record in records])
        rows = Table1().add_all(records).rows()
    manifest = _manifest(request, compiled, len(records), content)
    write_bytes(request.out, content)
    write_bytes(manifest_file, (json.dumps(manifest, ensure_ascii=False, indent=1) + "\n").encode())
    if as_json:
        print_json(manifest)
        return
    console.print(table_of(rows))
    for reason, count in manifest["skipped"].items():
        console.print(f"left out, {reason}: {count:,}")
    console.print(f"{len(records):,} records written to {escape(str(request.out))}")


def _compiled(request: CompileRequest) -> Compiled:
    generation = None if request.generation is None else read_templates(request.generation)
    return compile_records(
        read_facts(request.facts),
        read_templates(request.templates),
        rng=random.Random(request.seed),
        generation=generation,
        settings=request.settings,
    )


def _content(out: Path, entries: list[dict[str, Any]]) -> bytes:
    if out.suffix == ".jsonl":
        return "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries).encode()
    return (json.dumps(entries, ensure_ascii=False, indent=1) + "\n").encode()


def _manifest(request: CompileRequest, compiled: Compiled, written: int, content: bytes) -> dict[str, Any]:
    sources = {"facts": request.facts, "templates": request.templates, "generation": request.generation}
    return {
        "knowedit": version("knowedit"),
        "seed": request.seed,
        "sources": {
            name: {"path": str(path), "sha256": source_digest(path)} for name, path in sources.items() if path
        },
        "limit": request.limit,
        "written": written,
        "sha256": hashlib.sha256(content).hexdigest(),
        **compiled.manifest(),
    }
