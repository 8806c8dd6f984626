"""``knowedit sweep``: editors over layers, bounds and learning rates, into a folder that can be resumed."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Final

import torch
import typer
from rich.markup import escape
from rich.progress import Progress, TaskID
from rich.table import Table

from knowedit.cli.options import DEFAULT_MODEL, Json, Model, Seed
from knowedit.cli.output import INTERRUPTED, console, counting_bar, print_json, stderr
from knowedit.editing import EDITORS, label_of
from knowedit.editing.fine_tuning.known_settings import keep_settings
from knowedit.errors import InputError
from knowedit.evaluation import Sweep, best, read_sweep
from knowedit.evaluation.figures import check_suffix, save, sweep_lines
from knowedit.evaluation.records.record import TRAIN_FILE, Record, iter_records
from knowedit.evaluation.runs.sweep_points import SweepPoint, SweepRow
from knowedit.evaluation.scores.columns import JUDGED
from knowedit.models import LanguageModel, load

FINE_TUNING: Final = ("ft", "ft+l", "attn-edit")
BOUNDED: Final = ("ft+l", "attn-edit")
FIELDS: Final = ("layer", "bound", "learning_rate")


@dataclass(frozen=True)
class SweepRequest:
    """The options of ``knowedit sweep``.

    Attributes:
        layers: as typed, such as ``0,4-8``; None for all.
        bounds: every ε of FT+L and AttnEdit, as typed.
        rates: every learning rate of fine-tuning, as typed.
        records: a file; None takes the model's own training records.
        limit: only so many records, the first of the file.
        keep: whether the best settings go into the notes of the model's folder.
        figure: a picture of the sweep.
    """

    model: str
    methods: tuple[str, ...]
    out: Path
    layers: str | None = None
    bounds: str = ""
    rates: str = ""
    records: Path | None = None
    limit: int | None = None
    seed: int = 0
    workers: int = 1
    device: str = "cpu"
    keep: bool = False
    figure: Path | None = None

    def check_figure(self) -> None:
        """Refuse before any work a picture that could not be written.

        Raises:
            InputError: an unknown suffix, or no such folder.
        """
        if self.figure is None:
            return
        check_suffix(self.figure)
        if not self.figure.parent.is_dir():
            raise InputError(
                f"the folder {self.figure.parent} does not exist: create it, or give another --figure"
            )

    def grids(self, n_layers: int) -> dict[str, dict[str, list[Any]]]:
        """The values of each field by method: ε where a method has one, and rates where it has one.

        Raises:
            InputError: a method, layer or number that is none, or twice.
        """
        if unknown := [method for method in self.methods if method not in EDITORS]:
            raise InputError(f"there is no sweep of {unknown[0]!r}: use one of {', '.join(EDITORS)}")
        layers = list(range(n_layers)) if self.layers is None else parse_layers(self.layers, n_layers)
        bounds, rates = parse_numbers("bounds", self.bounds), parse_numbers("rates", self.rates)
        found: dict[str, dict[str, list[Any]]] = {}
        for method in self.methods:
            found[method] = {"layer": layers}
            found[method] |= {"bound": bounds} if method in BOUNDED else {}
            found[method] |= {"learning_rate": rates} if method in FINE_TUNING else {}
        return found

    def sweeps(self, lm: LanguageModel) -> list[Sweep]:
        """A sweep for each method, all into one folder.

        Raises:
            InputError: see `grids`; no records.
        """
        records = self.chosen_records(lm)
        model = lm if self.workers == 1 else self.model
        return [
            Sweep(model, method, grid, self.out, records, seed=self.seed, device=self.device)
            for method, grid in self.grids(lm.n_layers).items()
        ]

    def chosen_records(self, lm: LanguageModel) -> list[Record]:
        """The records.

        Raises:
            InputError: none was given, and the model has none.
        """
        own = None if lm.folder is None else lm.folder / TRAIN_FILE
        if self.records is None and (own is None or not own.is_file()):
            raise InputError(
                f"{lm.name} has no {TRAIN_FILE}: give a file with --records, not of test records"
            )
        return list(islice(iter_records(self.records or own), self.limit))  # type: ignore[arg-type]


def parse_layers(text: str, n_layers: int) -> list[int]:
    """``0,4-8`` as layers, each once, in their order.

    Raises:
        InputError: anything else, or a layer that the model does not have.
    """
    found: dict[int, None] = {}
    for piece in text.split(","):
        first, _, last = piece.strip().partition("-")
        if not first.isdecimal() or not (last or first).isdecimal():
            raise InputError(f"the layers {text!r} cannot be read: write them like 0,4-8")
        found |= dict.fromkeys(range(int(first), int(last or first) + 1))
    if outside := [layer for layer in found if layer >= n_layers]:
        raise InputError(f"there is no layer {outside[0]}: layers go from 0 to {n_layers - 1}")
    if not found:
        raise InputError(f"the layers {text!r} are none: write a range from low to high")
    return sorted(found)


def parse_numbers(name: str, text: str) -> list[float]:
    """``1e-3,2e-3`` as positive numbers, each once, in their order.

    Raises:
        InputError: anything else.
    """
    try:
        found = [float(piece) for piece in text.split(",")]
    except ValueError:
        raise InputError(f"the {name} {text!r} cannot be read: write them like 1e-3,5e-3") from None
    if not all(0 < number < float("inf") for number in found):
        raise InputError(f"the {name} {text!r} have to be positive numbers")
    return sorted(set(found))


def run_sweep(request: SweepRequest, *, as_json: bool) -> None:
    """Measure, go on, or find it done; then say what was best of all settings in the file."""
    request.check_figure()
    with stderr.status("reading the model"):
        lm = load(request.model, device=request.device)
    if request.keep and lm.folder is None:
        raise InputError(f"{lm.name} has no folder to keep settings in: leave out --keep")
    torch.set_num_threads(1)  # as in a worker of several: the last digits depend on it
    points = _watched(request.sweeps(lm), request)
    methods = dict.fromkeys(point.method for point in points)
    found = tuple(one for one in read_sweep(request.out)[1] if one.method in methods)
    rows = [one.row() for one in found]
    winners = {method: best(rows, method) for method in methods}
    if request.figure is not None:
        save(sweep_lines(rows, title=lm.name), request.figure)
    if request.keep:
        assert lm.folder is not None
        tuned = (label_of(EDITORS[method]()) for method in request.methods if method in FINE_TUNING)
        keep_settings(lm.folder, {label: full_setting(winners[label]) for label in tuned})
    if as_json:
        print_json(as_dict(found, winners))
        return
    _print(rows, winners)
    for path in (request.out, request.figure):
        if path is not None:
            console.print(f"written to {escape(str(path))}")


def full_setting(row: SweepRow) -> dict[str, Any]:
    """The fields that the command varies; None for one that the method does not have."""
    return dict.fromkeys(FIELDS) | dict(row.setting)


def as_dict(found: tuple[SweepPoint, ...], winners: dict[str, SweepRow]) -> dict[str, Any]:
    """A sweep as JSON; values in per cent."""
    points = []
    for one in found:
        row = one.row()
        columns = {key: [value.mean, value.low, value.high] for key, value in row.columns.items()}
        setting = {"method": row.method, **full_setting(row)}
        points.append(setting | {"columns": columns, "S": row.score, "failed": one.failed})
    return {"points": points, "best": {method: full_setting(row) for method, row in winners.items()}}


def _watched(sweeps: list[Sweep], request: SweepRequest) -> list[SweepPoint]:
    try:
        with counting_bar("records") as bar:
            watch = _Watch(bar)
            return [point for sweep in sweeps for point in sweep.run(workers=request.workers, watch=watch)]
    except KeyboardInterrupt:
        stderr.print(
            f"stopped; every finished setting is kept in {escape(str(request.out))}: the same command resumes it"
        )
        raise typer.Exit(INTERRUPTED) from None


class _Watch:
    """Draws progress; the time left is that of the setting."""

    def __init__(self, bar: Progress):
        self._bar = bar
        self._task: TaskID | None = None

    def __call__(self, point: str, done: int, of: int) -> None:
        if self._task is None:
            self._task = self._bar.add_task("", total=of, note="")
        self._bar.update(self._task, description=point, total=of, completed=done)


def _print(rows: list[SweepRow], winners: dict[str, SweepRow]) -> None:
    table = Table("method", "layer", "ε", "rate", *JUDGED, "S", "", box=None)
    for row in rows:
        setting = ("" if value is None else f"{value:g}" for value in full_setting(row).values())
        means = (f"{row.columns[key].mean:.1f}" for key in JUDGED)
        mark = "best" if row is winners[row.method] else ""
        table.add_row(row.method, *setting, *means, f"{row.score:.1f}", mark)
    console.print(table)
    console.print("[dim]in per cent; S is the harmonic mean of the three, and the best has the largest[/]")


def sweep(
    method: Annotated[
        list[str], typer.Option(help="ft, ft+l, attn-edit or rome; give it again for each of several.")
    ],
    out: Annotated[Path, typer.Option(help="The folder of the sweep; the same command again resumes it.")],
    model: Model = DEFAULT_MODEL,
    layers: Annotated[str | None, typer.Option(help="Such as 0,4-8; by default all.")] = None,
    bounds: Annotated[str, typer.Option(help="Every ε of ft+l and attn-edit.")] = "5e-5,5e-4,5e-3",
    rates: Annotated[str, typer.Option(help="Every learning rate of fine-tuning.")] = "5e-4",
    records: Annotated[
        Path | None,
        typer.Option(help="A file of records for training; by default the model's training records."),
    ] = None,
    limit: Annotated[int, typer.Option(min=2, help="At most this many records, the first.")] = 50,
    seed: Seed = 0,
    workers: Annotated[int, typer.Option(min=1, help="Processes, with one thread each.")] = 1,
    device: Annotated[str, typer.Option(help="Where each model runs, for instance cuda.")] = "cpu",
    keep: Annotated[
        bool, typer.Option("--keep", help="Note the best settings in the model's folder, as known ones.")
    ] = False,
    figure: Annotated[
        Path | None, typer.Option(help="A picture: .png, .svg or .pdf; the columns against the layer, or ε.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Find the layer, bound and learning rate at which an editor is at its best."""
    request = SweepRequest(
        model, tuple(method), out, layers, bounds, rates, records, limit, seed, workers, device, keep, figure
    )
    run_sweep(request, as_json=as_json)
