"""``python -m claims.make_evidence``: the runs that claims read; an interrupted one is resumed."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from claims.evidence_runs import EVIDENCE, METHODS, RECORDS, Source
from knowedit.bundled import bundled_models
from knowedit.errors import KnoweditError
from knowedit.evaluation import Run
from knowedit.evaluation.runs.evaluate import run_job
from knowedit.evaluation.runs.station import editor_identity

SOME_FAILED = 1
INTERRUPTED = 130

stderr = Console(stderr=True, highlight=False, soft_wrap=True)


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(prog="python -m claims.make_evidence", description=__doc__)
    add = found.add_argument
    add("--model", nargs="+", action="extend", metavar="NAME", help="bundled, Hub id or folder")
    add("--method", nargs="+", action="extend", choices=METHODS, metavar="X", help=", ".join(METHODS))
    add("--records", type=_positive, default=RECORDS, metavar="N", help="the first N test records")
    add("--out", type=Path, metavar="DIR", help=f"the evidence of all models; by default {EVIDENCE.name}/")
    add("--records-file", type=Path, metavar="FILE", help="for models without records in their folder")
    add("--statistics", type=Path, metavar="FILE", help="for models without key statistics in their folder")
    add("--layer", type=int, help="of an editor that knows none for the model; claims refuse such a run")
    add("--bound", type=float, help="ε, in the same way")
    add("--device", default="cpu", help="cpu or cuda")
    add("--retry", action="store_true", help="measure again the records that failed")
    return found


def _positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{number} is too few")
    return number


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


def make(source: Source, method: str, *, limit: int, retry: bool) -> Run:
    """Make one run in this process, with a bar."""
    job, folder = source.job(method, source.scorer()), source.folder(method)
    names = {
        "model": source.model,
        "method": str(editor_identity(job.editor)["method"]),
        "records": source.file.name,
    }
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=stderr, transient=True) as bar:
        task = bar.add_task(f"{folder.parent.name} {method}", total=limit)

        def watch(done: int, of: int, _: object) -> None:
            bar.update(task, total=of, completed=done)

        return run_job(job, source.first_records(limit), folder, names=names, retry=retry, watch=watch)


def main(argv: Sequence[str] | None = None) -> int:
    """Make the runs; 0 if all is measured, 1 if a record failed, 2 for a wrong argument, 130 when interrupted."""
    options = parser().parse_args(argv)
    torch.set_num_threads(1)  # as the workers of `knowedit evaluate` and of the claims
    failed = 0
    try:
        for source, method in asked_for(options):
            run = make(source, method, limit=options.records, retry=options.retry)
            failed += len(run.failed)
            for outcome in run.failed[:5]:
                print(f"record {outcome.case_id} failed: {outcome.error}", file=sys.stderr)
            print(f"{run.digest[:16]}  {len(run.scored)} records  {run.path}", flush=True)
    except KnoweditError as error:
        stderr.print(f"make_evidence: {error}", markup=False)
        return 2
    except KeyboardInterrupt:
        stderr.print("make_evidence: stopped; the same command resumes it", markup=False)
        return INTERRUPTED
    return SOME_FAILED if failed else 0


if __name__ == "__main__":
    sys.exit(main())
