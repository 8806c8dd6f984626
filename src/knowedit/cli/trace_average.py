"""``knowedit trace-average``: where a model keeps its facts on average, resumable."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from rich.markup import escape
from rich.progress import Progress, TaskID
from rich.table import Table

from knowedit.cli.known import known_facts
from knowedit.cli.noise import chosen_noise
from knowedit.cli.options import DEFAULT_MODEL, Json, Model, Seed
from knowedit.cli.output import INTERRUPTED, console, counting_bar, percent, print_json, stderr
from knowedit.cli.windows import parse_window
from knowedit.errors import InputError
from knowedit.intervals import Interval
from knowedit.models import LanguageModel, load
from knowedit.tracing import (
    AverageTrace,
    Corruption,
    KnownFact,
    Part,
    Severed,
    TraceRun,
    TraceSettings,
    figures,
    load_known_facts,
)
from knowedit.tracing.trace_run import AVERAGE


@dataclass(frozen=True)
class AverageRequest:
    """The options of ``knowedit trace-average``."""

    model: str
    device: str
    facts: Path | None
    limit: int
    part: str
    window: str | None
    sever: str | None
    noise: float | None
    relative_noise: float | None
    draws: int | None
    seed: int
    out: Path
    picture: Path | None

    def corruption(self) -> Corruption:
        """The noise.

        Raises:
            InputError: two of them, or one that is not positive.
        """
        if self.noise is not None and self.relative_noise is not None:
            raise InputError("--noise and --relative-noise were both given: give one of them")
        return chosen_noise(self.noise, self.relative_noise)

    def settings(self, n_layers: int) -> TraceSettings:
        """How each fact is traced; single states and windows of sublayers where no window is given.

        Raises:
            InputError: a value that no trace could use.
        """
        usual = "1" if self.part == "hidden" else "depth"
        return TraceSettings(
            part=cast(Part, self.part),
            window=parse_window(usual if self.window is None else self.window, n_layers).check(n_layers),
            sever=cast("Severed | None", self.sever),
            corruption=self.corruption(),
            draws=self.draws,
        )

    def known_facts(self, lm: LanguageModel) -> list[KnownFact]:
        """The first ``limit`` facts of the file, or of those of the model's own records that it knows.

        Raises:
            InputError: there are none.
        """
        if self.facts is None:
            return known_facts(lm, None, self.limit)
        return load_known_facts(self.facts)[: self.limit]


def run_trace_average(request: AverageRequest, *, as_json: bool) -> None:
    """Trace, or go on, or find it done; then say what was found."""
    _check_picture(request.picture)
    request.corruption()
    with stderr.status("reading the model"):
        lm = load(request.model, device=request.device)
    settings = request.settings(lm.n_layers)
    run = TraceRun(request.out, lm, request.known_facts(lm), settings, seed=request.seed)
    average = _watched(run)
    written = [request.out / AVERAGE]
    if request.picture is not None:
        _draw(average, request.picture)
        written.append(request.picture)
    if as_json:
        print_json(as_dict(average, run.failures) | {"written": [str(path) for path in written]})
        return
    _print(average, run.failures)
    for path in written:
        console.print(f"written to {escape(str(path))}")


def _check_picture(path: Path | None) -> None:
    if path is None:
        return
    if path.suffix.lower() not in figures.SUFFIXES:
        raise InputError(f"{path} ends with {path.suffix!r}: expected one of {', '.join(figures.SUFFIXES)}")
    if not path.parent.is_dir():
        raise InputError(f"the folder {path.parent} does not exist: create it, or give another --picture")


def _draw(average: AverageTrace, path: Path) -> None:
    figures.save(figures.average_lines(average), path)


def _watched(run: TraceRun) -> AverageTrace:
    with counting_bar("facts") as bar:
        watch = _Watch(bar)
        try:
            return run.run(watch)
        except KeyboardInterrupt:
            bar.stop()
            stderr.print(f"stopped after {watch.done} of {len(run.facts)} facts: the same command resumes")
            raise typer.Exit(INTERRUPTED) from None


class _Watch:
    """Draws a run's progress; the bar begins where an earlier process stopped."""

    def __init__(self, bar: Progress):
        self._bar = bar
        self._task: TaskID | None = None
        self.done = 0

    def __call__(self, done: int, total: int, failed: int) -> None:
        if self._task is None:
            self._task = self._bar.add_task("tracing", total=total, completed=done, note="")
        self.done = done
        self._bar.update(self._task, completed=done, note=f", {failed} failed" if failed else "")


def as_dict(found: AverageTrace, failures: dict[int, str]) -> dict[str, Any]:
    """A run's result as JSON; where there is one fact, intervals are null."""
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


SCORES = {
    "clean": "clean",
    "corrupted": "corrupted",
    "total_effect": "clean minus corrupted",
    "best_last_subject": "each fact's best at the last subject token",
    "best_anywhere": "each fact's best anywhere",
}


def _interval(found: Interval) -> dict[str, Any]:
    bounds = {"low": None, "high": None} if found.n == 1 else {"low": found.low, "high": found.high}
    return {"mean": found.mean, **bounds, "n": found.n}


def _print(found: AverageTrace, failures: dict[int, str]) -> None:
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
        f"{found.model}: restored {found.settings.label}, {found.settings.draws} draws a fact; the model predicts "
        f"the answer of {found.n_predicted} of {found.n_facts} facts"
    )
    for number, error in failures.items():
        stderr.print(f"fact {number} was left out: {escape(error)}")


def _cells(found: Interval) -> tuple[str, str, str]:
    bounds = "of one fact" if found.n == 1 else f"{percent(found.low)} to {percent(found.high)}"
    return percent(found.mean), bounds, str(found.n)


def trace_average(
    out: Annotated[Path, typer.Option(help="The folder of the run; the same command again goes on.")],
    model: Model = DEFAULT_MODEL,
    device: Annotated[str, typer.Option(help="Where the model runs, for instance cuda.")] = "cpu",
    facts: Annotated[
        Path | None,
        typer.Option(
            help="A list of `knowedit known`, or known_1000.json; by default the model's own records."
        ),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Trace the first so many facts.")] = 100,
    part: Annotated[str, typer.Option(help="What is restored: hidden, mlp or attention.")] = "hidden",
    window: Annotated[
        str | None,
        typer.Option(
            help="Layers restored together: paper, released, depth, a number, or A,B for A below and B above. "
            "By default one; depth for MLP and attention."
        ),
    ] = None,
    sever: Annotated[
        str | None, typer.Option(help="Hold mlp or attention corrupted at the last subject token.")
    ] = None,
    noise: Annotated[float | None, typer.Option(help="Standard deviation of the noise, ν.")] = None,
    relative_noise: Annotated[
        float | None, typer.Option(help="ν as a multiple of the subject embeddings' deviation; by default 3.")
    ] = None,
    draws: Annotated[int | None, typer.Option(min=1, help="Noise samples a fact; by default 10.")] = None,
    seed: Seed = 0,
    picture: Annotated[Path | None, typer.Option(help="A .png, .svg or .pdf to draw.")] = None,
    as_json: Json = False,
) -> None:
    """Find where a model keeps its facts on average; can be interrupted and resumed at any point."""
    request = AverageRequest(
        model, device, facts, limit, part, window, sever, noise, relative_noise, draws, seed, out, picture
    )
    run_trace_average(request, as_json=as_json)
