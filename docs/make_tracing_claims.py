"""Write the tables of docs/tracing_claims.md from reports of ``nox -s claims -- --only trace``.

Run: python docs/make_tracing_claims.py REPORT.json ... A report goes where its settings say: that of a run with
``--full``, of one with another ``--noise``, or of one with the default settings.
"""

import json
import runpy
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "tracing_claims.md"
COLUMNS = (
    "claim",
    "model",
    "measured (95 % interval)",
    "facts",
    "the paper",
    "expected",
    "control",
    "verdict",
)


def name(settings: dict[str, Any]) -> str:
    """The table's name, from the settings of the run."""
    noise = "" if settings["noise"] == 3.0 else f" at noise {settings['noise']:g}"
    return ("tracing in full" if settings["full"] else "tracing by sample") + noise


def table(report: dict[str, Any]) -> str:
    """A row for each claim and model, and below it what else was found."""
    traced = [result for result in report["results"] if result["claim"].startswith("trace.")]
    rows = [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|", *map(_row, traced)]
    notes = [f"- {one['claim']} on `{one['model']}`: {note}." for one in traced if (note := _note(one))]
    return "\n".join([*rows, "", *notes])


def _row(result: dict[str, Any]) -> str:
    start = f"| {result['claim']} | `{result['model']}` "
    bound, unit = result["expectation"], f" {result['unit']}".rstrip()
    expected = f"{bound['direction']} {bound['bound']:g}{unit}"
    measured = result["measured"]
    if measured is None:
        return f"{start}| – | – | {result['paper']} | {expected} | – | {result['verdict']} |"
    low, mean, high, n = (measured["value"][key] for key in ("low", "mean", "high", "n"))
    return (
        f"{start}| {mean:.1f}{unit} ({low:.1f} to {high:.1f}) | {n} | {result['paper']} | {expected} "
        f"| {measured['control']['mean']:.1f}{unit} | {result['verdict']} |"
    )


def _note(result: dict[str, Any]) -> str:
    note = result["measured"]["note"] if result["measured"] else ""
    return (result["reason"] or note).replace("|", "\\|")


def main() -> None:
    put = runpy.run_path(str(ROOT / "docs" / "make_tables.py"))["put"]
    text = PAGE.read_text(encoding="utf-8")
    for source in sys.argv[1:]:
        report = json.loads(Path(source).read_text(encoding="utf-8"))
        marker = f"<!-- {name(report['settings'])} -->"
        if marker not in text:
            raise SystemExit(f"{source}: {PAGE.name} has no place {marker} for a run with its settings")
        text = put(text, name(report["settings"]), table(report))
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
