"""``python -m claims.make_evidence``: the runs that claims read; an interrupted one goes on."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from claims.evidence_runs import EVIDENCE, RECORDS, Source
from knowedit.bundled import bundled_models
from knowedit.cli.evaluate import METHODS, SOME_FAILED, EvaluateRequest, gather_with_bar, print_failures
from knowedit.cli.output import INTERRUPTED, stderr
from knowedit.errors import KnoweditError
from knowedit.evaluation.runs.executors import InProcess
from knowedit.evaluation.runs.folder import Run


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


def requests(options: argparse.Namespace) -> list[EvaluateRequest]:
    """Every run that is asked for, model by model."""
    sources = [
        Source(model, options.out, options.records_file, options.statistics, options.device)
        for model in options.model or bundled_models()
    ]
    return [
        replace(source.request(method, options.records), layer=options.layer, bound=options.bound)
        for source in sources
        for method in options.method or METHODS
    ]


def make(request: EvaluateRequest, *, retry: bool) -> Run:
    """Gather one run in this process, with a bar."""
    title = f"{request.out.parent.name} {request.method}"
    return gather_with_bar(request.evaluation(), InProcess(), retry=retry, title=title)


def main(argv: Sequence[str] | None = None) -> int:
    """Make the runs; 0 if all is measured, 1 if a record failed, 2 for a wrong argument, 130 when interrupted."""
    options = parser().parse_args(argv)
    torch.set_num_threads(1)  # as the workers of `knowedit evaluate` and of the claims
    failed = 0
    try:
        for request in requests(options):
            run = make(request, retry=options.retry)
            failed += len(run.failed)
            print_failures(run)
            print(f"{run.digest[:16]}  {len(run.scored)} records  {run.path}", flush=True)
    except KnoweditError as error:
        stderr.print(f"make_evidence: {error}", markup=False)
        return 2
    except KeyboardInterrupt:
        stderr.print("make_evidence: stopped; the same command goes on where it was", markup=False)
        return INTERRUPTED
    return SOME_FAILED if failed else 0


if __name__ == "__main__":
    sys.exit(main())
