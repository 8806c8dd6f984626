"""Count COUNTERFACT's records, compile ParaRel's facts into new ones, and write both into docs/counterfact.md.

Run: KNOWEDIT_DATA=folder python docs/make_counterfact.py

The folder holds ``counterfact/counterfact_compact.jsonl`` and ``pararel/`` with ``trex/`` and ``patterns/``.
"""

import json
import os
import random
import sys
from pathlib import Path

from knowedit.evaluation import iter_records
from knowedit.evaluation.records.compiler import compile_records, read_facts, read_templates
from knowedit.evaluation.records.counts import PAPER, Table1

PAGE = Path(__file__).parent / "counterfact.md"
SHOWN = 3


def counts(tables: dict[str, list]) -> str:
    """Table 1: total, per relation and per record of the paper and of each set of records."""
    lines = ["| | the paper | " + " | ".join(tables) + " |", "|" + "---|" * (len(tables) + 2)]
    for i, name in enumerate(PAPER):
        found = [" / ".join(rows[i].cells()) for rows in tables.values()]
        lines.append("| " + " | ".join([name, " / ".join(f"{n:,}" for n in PAPER[name]), *found]) + " |")
    return "\n".join(lines)


def skipped(manifest: dict) -> str:
    """What was read, what was left out and why, and what was made."""
    lines = ["| | count |", "|---|---|", f"| distinct facts | {manifest['facts']:,} |"]
    lines += [f"| left out, {reason} | {count:,} |" for reason, count in manifest["skipped"].items()]
    lines += [f"| templates used | {manifest['templates']:,} |", f"| relations with records | {manifest['relations']} |"]
    return "\n".join([*lines, f"| records | {manifest['records']:,} |"])


def examples(records: list) -> str:
    """A few records as the file has them."""
    drawn = random.Random("shown").sample(records, SHOWN)
    return "\n\n".join(
        "```json\n" + json.dumps(record.as_json(), indent=1, ensure_ascii=False) + "\n```" for record in drawn
    )


def report(folder: Path) -> dict[str, str]:
    """Every table of the page by its marker."""
    compact = Table1().add_all(iter_records(folder / "counterfact" / "counterfact_compact.jsonl"))
    pararel = folder / "pararel"
    made = compile_records(read_facts(pararel / "trex"), read_templates(pararel / "patterns"), rng=random.Random(0))
    tables = {"the compact file": compact.rows(), "compiled from ParaRel": Table1().add_all(made.records).rows()}
    return {
        "table 1": counts(tables),
        "compiled": skipped(made.manifest()),
        "records": examples(made.records),
    }


def main() -> None:
    folder = os.environ.get("KNOWEDIT_DATA")
    if not folder:
        sys.exit("set KNOWEDIT_DATA to the folder with counterfact/ and pararel/")
    from make_tables import put

    text = PAGE.read_text(encoding="utf-8")
    for name, table in report(Path(folder)).items():
        text = put(text, name, table)
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
