"""``python -m claims``: measure the claims, compare with the record, write the report."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from rich.console import Console

from claims.catalogue import SECTIONS
from claims.console import INTERRUPTED, at_least, counting_bars
from claims.models import check_device, model_name
from claims.record import RECORD_FILE, failures, load_record
from claims.registry import Sections, select
from claims.report import Report
from claims.run import on_models, proofs, without_models
from claims.settings import Settings
from claims.verdicts import Result
from knowedit.bundled import bundled_models
from knowedit.errors import InputError, KnoweditError
from knowedit.runs import Workers

NARROWEST = 180
"""Columns of the table where the output is no terminal."""


def parser() -> argparse.ArgumentParser:
    defaults = Settings()
    found = argparse.ArgumentParser(prog="python -m claims", description=__doc__)
    add = found.add_argument
    add("--model", nargs="+", action="extend", metavar="NAME", help="bundled, Hub id or folder")
    add("--device", default=defaults.device, help="cpu or cuda")
    add("--only", default="", metavar="PREFIX", help="claims whose id starts so: rome, algebra.feasible")
    add("--facts", type=at_least(2), default=defaults.facts, metavar="N", help="records per model")
    add("--seed", type=int, default=defaults.seed, metavar="S")
    add("--records", type=Path, metavar="FILE", help="for models without records in their folder")
    add("--statistics", type=Path, metavar="FILE", help="for models without key statistics in their folder")
    add("--evidence", type=Path, metavar="DIR", help="finished runs by model and method")
    add("--full", action="store_true", help="all facts, also where a sample is the default; minutes")
    add(
        "--noise",
        type=_above_zero,
        default=defaults.noise,
        metavar="X",
        help="of traces, in standard deviations",
    )
    add("--threads", type=at_least(1), default=1, metavar="N", help="of each process; 1 as in the record")
    add("--out", type=Path, default=Path(), metavar="DIR", help="where the report goes")
    return found


def _above_zero(text: str) -> float:
    if not 0 < (number := float(text)) < math.inf:
        raise argparse.ArgumentTypeError(f"{number:g} is no noise: give a number above 0")
    return number


def main(
    argv: Sequence[str] | None = None, sections: Sections = SECTIONS, record_file: Path = RECORD_FILE
) -> int:
    """Run; 0 if all is as on record, 1 if not, 2 for a wrong argument, 130 when interrupted."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    options = parser().parse_args(argv)
    try:
        return _run(options, sections, record_file, console)
    except KnoweditError as error:
        console.print(f"claims: {error}", markup=False)
        return 2
    except KeyboardInterrupt:
        console.print("claims: interrupted, no report was written")
        return INTERRUPTED


def _run(options: argparse.Namespace, sections: Sections, record_file: Path, console: Console) -> int:
    chosen = {name: getattr(options, name) for name in (field.name for field in fields(Settings))}
    settings = Settings(**chosen)
    record, wanted = load_record(record_file), select(sections, options.only)
    _check(options, wanted, sections)
    results = proofs(wanted) + without_models(wanted, settings)
    sources = list(dict.fromkeys(options.model or bundled_models()))
    results += _on_models(sources, wanted, settings, options, console)
    found = failures(results, record, wanted, settings)
    report = Report(wanted, results, found, record, settings)
    _show(report, report.write(options.out))
    return 1 if found else 0


def _check(options: argparse.Namespace, wanted: Sections, sections: Sections) -> None:
    check_device(options.device)
    if not wanted:
        known = ", ".join(claim.id for section in sections for claim in section.claims)
        raise InputError(f"no claim starts with {options.only!r}: there are {known}")
    if not options.out.is_dir():
        raise InputError(f"there is no folder {options.out} for the report: create it")


def _on_models(
    sources: Sequence[str],
    sections: Sections,
    settings: Settings,
    options: argparse.Namespace,
    console: Console,
) -> list[Result]:
    # One worker with a GPU: models would only take its memory from each other.
    workers = Workers(2 if settings.device == "cpu" else 1, threads=options.threads)
    with counting_bars(console) as bars:
        tasks = {source: bars.add_task(model_name(source), total=None) for source in sources}

        def watch(source: str, steps: tuple[int, int]) -> None:
            bars.update(tasks[source], completed=steps[0], total=steps[1])

        return on_models(sources, sections, settings, workers, watch)


def _show(report: Report, paths: Sequence[Path]) -> None:
    console = Console()
    if not console.is_terminal:
        console.width = max(console.width, NARROWEST)
    console.print(report.table())
    for result in report.results:
        if result.reason:
            console.print(f"{result.claim} on {result.model}: {result.reason}", markup=False, highlight=False)
    console.print(report.summary, highlight=False)
    for text in report.failures:
        console.print(f"- {text}", style="red", markup=False, highlight=False)
    console.print(f"Report: {', '.join(map(str, paths))}", markup=False, highlight=False)


if __name__ == "__main__":
    sys.exit(main())
