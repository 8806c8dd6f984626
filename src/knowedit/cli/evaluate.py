"""``knowedit evaluate``: an editor over many records, into a folder that can be resumed."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import torch
import typer
from rich.markup import escape
from rich.progress import Progress, TaskID

from knowedit.cli.options import DEFAULT_MODEL, Json, Model, Seed
from knowedit.cli.output import INTERRUPTED, console, counting_bar, print_json, stderr
from knowedit.cli.table import print_table
from knowedit.editing import EDITORS
from knowedit.evaluation import Run, TextScorer, TfIdf, make_table, run_row
from knowedit.evaluation.runs.evaluate import Watch, chosen_editor, records_of, reference_tfidf
from knowedit.evaluation.runs.evaluate import evaluate as evaluate_records
from knowedit.evaluation.runs.run import Outcome

METHODS: Final = ("none", *EDITORS)
SOME_FAILED: Final = 1


@dataclass(frozen=True)
class EvaluateRequest:
    """The options of ``knowedit evaluate``.

    Attributes:
        profile: the settings of ROME; None for the paper's.
        layer: another layer than the stored one.
        bound: ε of FT+L and AttnEdit, if not the known one.
        statistics: a file of key statistics for ROME.
        records: a file; None takes the model's own test records.
        limit: only so many records, the first of the file.
        texts: whether GE, RS and Essence are measured, for which text is generated.
        keep_texts: whether the generated texts are kept in the lines.
        tfidf: a saved TF-IDF model; by default one of the file's reference texts.
        retry: measure again the records that failed.
        ray: None for processes of this machine; else the address of a Ray cluster, ``auto`` or ``local``.
    """

    model: str
    method: str
    out: Path
    profile: str | None = None
    layer: int | None = None
    bound: float | None = None
    statistics: Path | None = None
    records: Path | None = None
    limit: int | None = None
    seed: int = 0
    workers: int = 1
    texts: bool = True
    keep_texts: bool = True
    tfidf: Path | None = None
    device: str = "cpu"
    retry: bool = False
    ray: str | None = None

    def options(self) -> dict[str, Any]:
        """The options of the editor that were given."""
        options = {
            "profile": self.profile,
            "layer": self.layer,
            "bound": self.bound,
            "statistics": self.statistics,
        }
        return {name: value for name, value in options.items() if value is not None}

    def scored_texts(self) -> bool | TextScorer:
        """How texts are measured.

        Raises:
            InputError: no TF-IDF model can be had.
        """
        if not self.texts:
            return False
        tfidf = (
            TfIdf.load(self.tfidf) if self.tfidf else reference_tfidf(records_of(self.model, self.records))
        )
        return TextScorer(tfidf, kept=self.keep_texts)

    def evaluate(self, watch: Watch) -> Run:
        """Call `knowedit.evaluate` with these options.

        Raises:
            InputError: see `evaluate`.
        """
        torch.set_num_threads(1)  # as in a worker of several: the last digits depend on it
        return evaluate_records(
            self.model,
            self.method,
            self.records,
            out=self.out,
            limit=self.limit,
            seed=self.seed,
            workers=self.workers,
            texts=self.scored_texts(),
            device=self.device,
            ray=self.ray,
            retry=self.retry,
            watch=watch,
            **self.options(),
        )


def run_evaluate(request: EvaluateRequest, *, as_json: bool) -> None:
    """Measure, or go on, or find it done; then print the row, and exit with 1 if a record failed."""
    chosen_editor(request.method, request.options())
    run = _watched(request)
    print_failures(run)
    if as_json:
        print_json(summary(run))
    elif run.scored:
        print_table(make_table([run_row(run)]))
        console.print(f"written to {escape(str(run.path))}")
    if run.failed:
        raise typer.Exit(SOME_FAILED)


def summary(run: Run) -> dict[str, object]:
    """A run as JSON."""
    row = run_row(run) if run.scored else None
    columns = {} if row is None else row.columns
    return {
        "out": str(run.path),
        "digest": run.digest,
        "scored": len(run.scored),
        "failed": {str(outcome.case_id): outcome.error for outcome in run.failed},
        "columns": {key: [found.mean, found.low, found.high] for key, found in columns.items()},
        "names": run.manifest["names"],
        "run": run.identity,
    }


def _watched(request: EvaluateRequest) -> Run:
    try:
        with counting_bar() as bar:
            task = bar.add_task("opening the model", total=None, note="")
            return request.evaluate(_Watch(bar, task))
    except KeyboardInterrupt:
        command = shlex.join(["knowedit", *sys.argv[1:]])
        stderr.print(
            f"stopped; every finished record is kept in {escape(str(request.out))}. To resume, give the same command "
            f"again:\n  {escape(command)}"
        )
        raise typer.Exit(INTERRUPTED) from None


class _Watch:
    """Draws progress; the time left is that of the records of this start."""

    def __init__(self, bar: Progress, task: TaskID):
        self._bar, self._task, self._failed = bar, task, 0

    def __call__(self, done: int, of: int, outcome: Outcome | None) -> None:
        if outcome is None:
            self._bar.reset(self._task, total=of, completed=done, description="measuring")
            return
        self._failed += outcome.scores is None
        failed = f"{self._failed:,} failed" if self._failed else ""
        self._bar.update(self._task, completed=done, note=failed)


def print_failures(run: Run) -> None:
    """The first records that failed, with their errors."""
    for outcome in run.failed[:5]:
        stderr.print(f"[yellow]record {outcome.case_id} failed:[/] {escape(str(outcome.error))}")
    if len(run.failed) > 5:
        stderr.print(f"[yellow]and {len(run.failed) - 5:,} more[/]; records.jsonl has them all")


def evaluate(
    method: Annotated[str, typer.Option(help="none (the model as it is), rome, ft, ft+l or attn-edit.")],
    out: Annotated[Path, typer.Option(help="The folder of the run; the same command again resumes it.")],
    model: Model = DEFAULT_MODEL,
    profile: Annotated[
        str | None, typer.Option(help="The settings of ROME; `knowedit profiles` lists them.")
    ] = None,
    layer: Annotated[int | None, typer.Option(help="The layer to edit; by default the known one.")] = None,
    bound: Annotated[
        float | None, typer.Option(help="ε of ft+l and attn-edit, if not the known one.")
    ] = None,
    statistics: Annotated[
        Path | None, typer.Option(help="A file that `knowedit stats` wrote; by default the model's own.")
    ] = None,
    records: Annotated[
        Path | None,
        typer.Option(help="A file such as counterfact.json; by default the model's test records."),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most this many records, the first.")] = None,
    seed: Seed = 0,
    workers: Annotated[int, typer.Option(min=1, help="Processes, with one thread each.")] = 1,
    texts: Annotated[
        bool, typer.Option("--texts/--no-texts", help="Whether to generate text, for GE, RS and Essence.")
    ] = True,
    keep_texts: Annotated[
        bool,
        typer.Option(
            "--keep-texts/--drop-texts", help="Whether generated texts are kept; scores do not need them."
        ),
    ] = True,
    tfidf: Annotated[
        Path | None, typer.Option(help="A saved TF-IDF model; by default one of the reference texts.")
    ] = None,
    device: Annotated[str, typer.Option(help="Where each model runs, for instance cuda.")] = "cpu",
    retry: Annotated[bool, typer.Option("--retry", help="Measure again the records that failed.")] = False,
    ray: Annotated[
        str | None,
        typer.Option(help="Workers on a Ray cluster: its address, auto, or local. It needs knowedit[ray]."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Run an editor over many records and score it; can be interrupted and resumed at any point."""
    request = EvaluateRequest(
        model=model,
        method=method,
        out=out,
        profile=profile,
        layer=layer,
        bound=bound,
        statistics=statistics,
        records=records,
        limit=limit,
        seed=seed,
        workers=workers,
        texts=texts,
        keep_texts=keep_texts,
        tfidf=tfidf,
        device=device,
        retry=retry,
        ray=ray,
    )
    run_evaluate(request, as_json=as_json)
