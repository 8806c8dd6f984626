"""``python -m claims.make_evidence``: the runs that claims read; an interrupted one is resumed."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console

from claims.console import INTERRUPTED, at_least, counting_bars
from claims.sources import EVIDENCE, METHODS, RECORDS, Source
from knowedit.bundled import bundled_models
from knowedit.errors import KnoweditError
from knowedit.evaluation import Run

SOME_FAILED = 1


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(prog="python -m claims.make_evidence", description=__doc__)
    add = found.add_argument
    add("--model", nargs="+", action="extend", metavar="NAME", help="bundled, Hub id or folder")
    add("--method", nargs="+", action="extend", choices=METHODS, metavar="X", help=", ".join(METHODS))
    add("--records", type=at_least(1), default=RECORDS, metavar="N", help="the first N test records")
    add("--out", type=Path, metavar="DIR", help=f"the evidence of all models; by default {EVIDENCE.name}/")
    add("--records-file", type=Path, metavar="FILE", help="for models without records in their folder")
    add("--statistics", type=Path, metavar="FILE", help="for models without key statistics in their folder")
    add("--layer", type=int, help="of an editor that knows none for the model; claims refuse such a run")
    add("--bound", type=float, help="ε, in the same way")
    add("--device", default="cpu", help="cpu or cuda")
    add("--retry", action="store_true", help="measure again the records that failed")
    return found


def asked_for(options: argparse.Namespace) -> list[tuple[Source, str]]:
    """Every run that is asked for, model by model."""
    given = {name: value for name in ("layer", "bound") if (value := getattr(options, name)) is not None}
    return [
        (
            Source(model, options.out, options.records_file, options.statistics, options.device, given),
            method,
        )
        for model in options.model or bundled_models()
        for method in options.method or METHODS
    ]


def make(source: Source, method: str, *, limit: int, retry: bool, console: Console) -> Run:
    """Make one run in this process, with a bar."""
    with counting_bars(console) as bars:
        task = bars.add_task(f"{source.folder(method).parent.name} {method}", total=limit)

        def watch(done: int, of: int, _: object) -> None:
            bars.update(task, total=of, completed=done)

        return source.make(method, limit=limit, retry=retry, watch=watch)


def main(argv: Sequence[str] | None = None) -> int:
    """Make the runs; 0 if all is measured, 1 if a record failed, 2 for a wrong argument, 130 when interrupted."""
    options, console = parser().parse_args(argv), Console(stderr=True, highlight=False, soft_wrap=True)
    torch.set_num_threads(1)  # as the workers of `knowedit evaluate` and of the claims
    failed = 0
    try:
        for source, method in asked_for(options):
            run = make(source, method, limit=options.records, retry=options.retry, console=console)
            failed += len(run.failed)
            for outcome in run.failed[:5]:
                print(f"record {outcome.case_id} failed: {outcome.error}", file=sys.stderr)
            print(f"{run.digest[:16]}  {len(run.scored)} records  {run.path}", flush=True)
    except KnoweditError as error:
        console.print(f"make_evidence: {error}", markup=False)
        return 2
    except KeyboardInterrupt:
        console.print("make_evidence: stopped; the same command resumes it", markup=False)
        return INTERRUPTED
    return SOME_FAILED if failed else 0


if __name__ == "__main__":
    sys.exit(main())
