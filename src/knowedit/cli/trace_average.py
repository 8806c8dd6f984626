"""``knowedit trace-average``: where a model keeps its facts on average, resumable."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

import knowedit
from knowedit.cli.choices import trace_settings
from knowedit.cli.known import known_facts
from knowedit.cli.options import (
    DEFAULT_MODEL,
    Device,
    Draws,
    Dtype,
    Figure,
    Force,
    Json,
    Limit,
    Model,
    Noise,
    Part,
    RelativeNoise,
    RunFolder,
    Seed,
    Sever,
    Window,
)
from knowedit.cli.output import check_folder, check_outputs, console, print_json, progress, safe, stderr

if TYPE_CHECKING:
    from knowedit.intervals import Interval
    from knowedit.tracing import AverageTrace

SCORES = {
    "clean": "clean",
    "corrupted": "corrupted",
    "total_effect": "clean minus corrupted",
    "best_last_subject": "each fact's best at the last subject token",
    "best_anywhere": "each fact's best anywhere",
}


def trace_average(
    out: RunFolder,
    model: Model = DEFAULT_MODEL,
    device: Device = "cpu",
    dtype: Dtype = "float32",
    facts: Annotated[
        Path | None,
        typer.Option(
            help="A list of `knowedit known`, or known_1000.json; by default the model's own records."
        ),
    ] = None,
    limit: Limit = 100,
    part: Part = "hidden",
    window: Window = None,
    sever: Sever = None,
    noise: Noise = None,
    relative_noise: RelativeNoise = None,
    draws: Draws = None,
    seed: Seed = 0,
    figure: Figure = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Trace, resume, or find it done; then print what was found."""
    from knowedit.runs.folder import RECORDS
    from knowedit.tracing import TraceRun, load_known_facts
    from knowedit.tracing.figures import average_lines, save
    from knowedit.tracing.trace_run import AVERAGE

    check_folder(out)
    check_outputs(force=force, inputs=[facts], figure=figure)
    settings = trace_settings(window, sever, draws, noise=noise, relative_noise=relative_noise)
    listed = None if facts is None else load_known_facts(facts)
    with progress(f"opening {model}"):
        lm = knowedit.load(model, device=device, dtype=dtype)
    how = settings(part, lm.n_layers, "1" if part == "hidden" else "depth")
    asked = known_facts(lm, None, limit) if listed is None else listed[:limit]
    run = TraceRun(out, lm, asked, how, seed=seed)
    kept = (f"every finished fact is kept in {out}", out / RECORDS)
    with progress("tracing", "facts", kept=kept) as tell:
        average = run.run(lambda done, of, failed: tell(done, of, note=f"{failed} failed" if failed else ""))
    written = [str(out / AVERAGE)]
    if figure is not None:
        save(average_lines(average), figure, force=force)
        written.append(str(figure))
    if as_json:
        print_json(_as_json(average, run.failures) | {"written": written})
        return
    _print(average, run.failures)
    for path in written:
        console.print(f"written to {safe(path)}")


def _as_json(found: AverageTrace, failures: dict[int, str]) -> dict[str, Any]:
    """A run's result; where there is one fact, intervals are null."""
    peaks = ((role, *found.peak(role)) for role in found.roles)
    return {
        "model": found.model,
        "digest": found.digest,
        "settings": found.settings.to_json(),
        "facts": found.n_facts,
        "predicted": found.n_predicted,
        "failures": {str(number): error for number, error in failures.items()},
        **{name: _interval(getattr(found, name)) for name in SCORES},
        "peaks": [{"role": role.value, "layer": layer, **_interval(value)} for role, layer, value in peaks],
    }


def _interval(found: Interval) -> dict[str, Any]:
    bounds = {"low": None, "high": None} if found.n == 1 else {"low": found.low, "high": found.high}
    return {"mean": found.mean, **bounds, "n": found.n}


def _print(found: AverageTrace, failures: dict[int, str]) -> None:
    from knowedit.intervals import FEW

    table = Table("token", "best layer", "P(answer)", "95 % interval", "facts", box=None)
    for role in found.roles:
        layer, value = found.peak(role)
        table.add_row(role.value, str(layer), *_cells(value))
    console.print(table)
    scores = Table("over facts", "P(answer)", "95 % interval", "facts", box=None)
    for name, title in SCORES.items():
        scores.add_row(title, *_cells(getattr(found, name)))
    console.print(scores)
    console.print(
        f"{safe(found.model)}: restored {found.settings.label}, {found.settings.draws} draws a fact; the model "
        f"predicts the answer of {found.n_predicted} of {found.n_facts} facts"
    )
    if found.n_facts < FEW:
        console.print(
            f"[yellow]few facts:[/] {found.n_facts} say little, and intervals are wide; take at least {FEW}"
        )
    for number, error in failures.items():
        stderr.print(f"fact {number} was left out: {safe(error)}")


def _cells(found: Interval) -> tuple[str, str, str]:
    bounds = "of one fact" if found.n == 1 else f"{found.low:.1%} to {found.high:.1%}"
    return f"{found.mean:.1%}", bounds, str(found.n)
