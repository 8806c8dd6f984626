"""``knowedit evaluate``: an editor over many records, into a folder that can be resumed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from knowedit.cli.choices import chosen_editor
from knowedit.cli.options import (
    DEFAULT_MODEL,
    Bound,
    Device,
    Dtype,
    Json,
    Layer,
    LearningRate,
    Limit,
    Model,
    Profile,
    Records,
    RunFolder,
    Seed,
    Set,
    Statistics,
    Workers,
)
from knowedit.cli.output import check_folder, console, print_json, progress, safe, stderr
from knowedit.cli.table import print_table

if TYPE_CHECKING:
    from knowedit.evaluation import Run, TextScorer
    from knowedit.evaluation.runs.run import Outcome

SHOWN_FAILURES = 5
SOME_FAILED = 1


def evaluate(
    method: Annotated[str, typer.Option(help="none (the model as it is), rome, ft, ft+l or attn-edit.")],
    out: RunFolder,
    model: Model = DEFAULT_MODEL,
    device: Device = "cpu",
    dtype: Dtype = "float32",
    profile: Profile = None,
    layer: Layer = None,
    bound: Bound = None,
    learning_rate: LearningRate = None,
    statistics: Statistics = None,
    settings: Set = None,
    records: Records = None,
    limit: Limit = None,
    seed: Seed = 0,
    workers: Workers = 1,
    texts: Annotated[
        bool | None,
        typer.Option(
            "--texts/--no-texts",
            help="Whether to generate text, for GE, RS and Essence; by default where the records have reference texts.",
        ),
    ] = None,
    keep_texts: Annotated[
        bool,
        typer.Option(
            "--keep-texts/--drop-texts", help="Whether generated texts are kept; scores do not need them."
        ),
    ] = True,
    tfidf: Annotated[
        Path | None, typer.Option(help="A saved TF-IDF model; by default one of the reference texts.")
    ] = None,
    retry: Annotated[bool, typer.Option("--retry", help="Measure again the records that failed.")] = False,
    ray: Annotated[
        str | None,
        typer.Option(help="Workers on a Ray cluster: its address, auto, or local. It needs knowedit[ray]."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure, resume, or find it done; then print the row, and exit with 1 if a record failed."""
    import torch

    from knowedit import evaluation
    from knowedit.evaluation.runs.run import RECORDS

    check_folder(out)
    editor = chosen_editor(
        method,
        profile,
        settings,
        layer=layer,
        bound=bound,
        learning_rate=learning_rate,
        statistics=statistics,
    )
    with progress("reading the records"):
        scorer = _texts(model, records, tfidf, texts, keep=keep_texts)
    torch.set_num_threads(1)  # as in a worker of several: the last digits depend on it
    kept = (f"every finished record is kept in {out}", out / RECORDS)
    with progress("opening the model", "records", kept=kept) as tell:
        run = evaluation.evaluate(
            model,
            editor,
            records,
            out=out,
            limit=limit,
            seed=seed,
            workers=workers,
            texts=scorer,
            device=device,
            dtype=dtype,
            ray=ray,
            retry=retry,
            watch=_watch(tell),
        )
    if scorer is False and texts is None:
        stderr.print(
            "[yellow]the records have no reference texts: GE, RS and Essence are not measured[/]; "
            "give --tfidf to measure them"
        )
    for outcome in run.failed[:SHOWN_FAILURES]:
        stderr.print(f"[yellow]record {safe(outcome.case_id)} failed:[/] {safe(outcome.error)}")
    if (hidden := len(run.failed) - SHOWN_FAILURES) > 0:
        stderr.print(f"[yellow]and {hidden:,} more[/]; records.jsonl has them all")
    if as_json:
        print_json(_as_json(run))
    elif run.scored:
        print_table(evaluation.make_table([evaluation.run_row(run)]))
        console.print(f"written to {safe(run.path)}")
    if run.failed:
        raise typer.Exit(SOME_FAILED)


def _texts(
    model: str, records: Path | None, tfidf: Path | None, wanted: bool | None, *, keep: bool
) -> TextScorer | bool:
    """How texts are measured; False for not at all, which is so where nothing is wanted and there are no references.

    Raises:
        InputError: they are asked for, and no TF-IDF model can be had.
    """
    from knowedit.evaluation import TextScorer, TfIdf, iter_records
    from knowedit.evaluation.records.record import LeftOut
    from knowedit.evaluation.runs.evaluate import records_of, reference_tfidf

    if wanted is False:
        return False
    if tfidf is not None:
        return TextScorer(TfIdf.load(tfidf), kept=keep)
    source = records_of(model, records)
    # What is left out is told when the records are read to be measured.
    read = iter_records(source, left=LeftOut()) if isinstance(source, Path) else source
    if wanted is None and not any(one.reference_texts for one in read):
        return False
    return TextScorer(reference_tfidf(source), kept=keep)


def _watch(tell: Callable[..., None]) -> Callable[[int, int, Outcome | None], None]:
    failed = 0

    def watch(done: int, of: int, outcome: Outcome | None) -> None:
        nonlocal failed
        failed += outcome is not None and outcome.scores is None
        tell(done, of, text="measuring", note=f"{failed:,} failed" if failed else "")

    return watch


def _as_json(run: Run) -> dict[str, Any]:
    from knowedit.evaluation import run_row

    columns = run_row(run).columns if run.scored else {}
    return {
        "out": str(run.path),
        "digest": run.digest,
        "scored": len(run.scored),
        "failed": {str(outcome.case_id): outcome.error for outcome in run.failed},
        "columns": {key: [found.mean, found.low, found.high] for key, found in columns.items()},
        "names": run.manifest["names"],
        "run": run.identity,
    }
