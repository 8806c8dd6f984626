"""``knowedit data compile``: new records from facts and templates."""

from __future__ import annotations

import hashlib
import json
import random
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer

from knowedit.cli.options import LARGEST_COUNT, Force, Json, Seed
from knowedit.cli.output import check_outputs, console, print_json, progress, safe
from knowedit.errors import InputError


def data_compile(
    facts: Annotated[
        Path, typer.Option(help="JSON Lines with subject, relation, object; or ParaRel's folder of them.")
    ],
    templates: Annotated[
        Path,
        typer.Option(help="JSON, relation to a list of '[X] plays [Y].'; or ParaRel's folder of patterns."),
    ],
    out: Annotated[Path, typer.Option(help="The file to write: .json a list, .jsonl one record a line.")],
    generation: Annotated[
        Path | None, typer.Option(help="JSON, relation to a list of beginnings with {} for the subject.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, max=LARGEST_COUNT, help="At most this many records, drawn at random.")
    ] = None,
    paraphrases: Annotated[
        int, typer.Option(min=1, max=LARGEST_COUNT, help="Paraphrase prompts of a record.")
    ] = 2,
    neighbors: Annotated[
        int, typer.Option(min=1, max=LARGEST_COUNT, help="Neighborhood prompts of a record.")
    ] = 10,
    seed: Seed = 0,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Compile records, write them and their manifest, and print what was left out."""
    from knowedit.evaluation.records.compiler import (
        compile_records,
        read_facts,
        read_templates,
    )
    from knowedit.evaluation.records.counts import Table1
    from knowedit.writing import write_bytes

    described = out.with_name(out.name + ".manifest.json")
    check_outputs(force=force, inputs=[facts, templates, generation], out=[out, described])
    triples = read_facts(facts)
    if not triples:
        raise InputError(f"{facts} holds no facts: give at least one")
    with progress("compiling"):
        compiled = compile_records(
            triples,
            read_templates(templates),
            rng=random.Random(seed),
            generation=None if generation is None else read_templates(generation),
            paraphrases=paraphrases,
            neighbors=neighbors,
        )
        records = compiled.records
        if limit is not None and limit < len(records):
            drawn = random.Random(f"limit {seed}").sample(range(len(records)), limit)
            records = [records[i] for i in sorted(drawn)]
        content = _content(out, [record.as_json() for record in records])
    manifest = {
        "knowedit": version("knowedit"),
        "seed": seed,
        "sources": _sources(facts=facts, templates=templates, generation=generation),
        "limit": limit,
        "written": len(records),
        "sha256": hashlib.sha256(content).hexdigest(),
        **compiled.manifest(),
    }
    write_bytes(out, content, force=force)
    write_bytes(described, (json.dumps(manifest, ensure_ascii=False, indent=1) + "\n").encode(), force=force)
    if as_json:
        print_json(manifest)
        return
    console.print(Table1().add_all(records))
    for reason, count in manifest["skipped"].items():
        console.print(f"left out, {safe(reason)}: {count:,}")
    console.print(f"{len(records):,} records written to {safe(out)}")


def _content(out: Path, entries: list[dict[str, Any]]) -> bytes:
    if out.suffix == ".jsonl":
        return "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries).encode()
    return (json.dumps(entries, ensure_ascii=False, indent=1) + "\n").encode()


def _sources(**paths: Path | None) -> dict[str, dict[str, str]]:
    from knowedit.evaluation.records.files import checksum

    return {name: {"path": str(path), "sha256": checksum(path)} for name, path in paths.items() if path}
