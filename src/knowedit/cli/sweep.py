"""``knowedit sweep``: editors over the values of their fields, into a folder that can be resumed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.table import Table

import knowedit
from knowedit.cli.choices import check_field
from knowedit.cli.options import (
    DEFAULT_MODEL,
    Bounds,
    Device,
    Dtype,
    Figure,
    Force,
    Json,
    Layers,
    Limit,
    Model,
    Rates,
    Records,
    RunFolder,
    Seed,
    Vary,
    Workers,
)
from knowedit.cli.output import check_folder, check_outputs, console, print_json, progress, safe
from knowedit.errors import InputError

if TYPE_CHECKING:
    from knowedit.evaluation import Record
    from knowedit.evaluation.runs.sweep_points import SweepPoint, SweepRow

FIELDS: Final = {"layer": "layer", "bound": "ε", "learning_rate": "rate"}
"""The fields with an option of their own, and their columns."""


def sweep(
    method: Annotated[
        list[str], typer.Option(help="An editor, such as ft, ft+l, attn-edit or rome; may be given again.")
    ],
    out: RunFolder,
    model: Model = DEFAULT_MODEL,
    device: Device = "cpu",
    dtype: Dtype = "float32",
    layers: Layers = None,
    bounds: Bounds = "5e-5,5e-4,5e-3",
    rates: Rates = "5e-4",
    vary: Vary = None,
    records: Records = None,
    limit: Limit = 50,
    seed: Seed = 0,
    workers: Workers = 1,
    keep: Annotated[
        bool, typer.Option("--keep", help="Write the best settings into the model's folder, as known ones.")
    ] = False,
    figure: Figure = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Measure, resume, or find it done; then print what was best of all settings in the folder."""
    import torch

    from knowedit.evaluation import Sweep, best, read_sweep
    from knowedit.evaluation.figures import save, sweep_lines
    from knowedit.evaluation.runs.sweep_points import LINES

    check_folder(out)
    check_outputs(force=force, inputs=[records], figure=figure)
    _check_fields(method, vary)
    with progress("reading the records"):
        asked = _records(model, records, limit)
    with progress(f"opening {model}"):
        lm = knowedit.load(model, device=device, dtype=dtype)
    if keep and lm.folder is None:
        raise InputError(f"{lm.name} has no folder to keep settings in: leave out --keep")
    chosen = range(lm.n_layers) if layers is None else [lm.check_layer(layer) for layer in layers]
    grids = {one: _grid(one, chosen, bounds, rates, vary) for one in method}
    opened = lm if workers == 1 else model
    sweeps = [
        Sweep(opened, one, grid, out, asked, seed=seed, device=device, dtype=dtype)
        for one, grid in grids.items()
    ]
    torch.set_num_threads(1)  # as in a worker of several: the last digits depend on it
    kept = (f"every finished setting is kept in {out}", out / LINES)
    with progress("preparing", "records", kept=kept) as tell:
        points = [point for one in sweeps for point in one.run(workers=workers, watch=_watch(tell))]
    methods = dict.fromkeys(point.method for point in points)
    found = [one for one in read_sweep(out)[1] if one.method in methods]
    rows = [one.row() for one in found]
    winners = {name: best(rows, name) for name in methods}
    if figure is not None:
        save(sweep_lines(rows, title=lm.name), figure, force=force)
    if keep:
        _keep(lm.folder, method, winners)
    if as_json:
        print_json(_as_json(found, winners))
        return
    _print(rows, winners)
    for path in (out, figure):
        if path is not None:
            console.print(f"written to {safe(path)}")


def _check_fields(methods: Sequence[str], vary: Any) -> None:
    """Refuse fields and values that an editor does not have, before the model is opened.

    Raises:
        InputError: no such editor or field, or a value that it cannot have.
    """
    from knowedit.editing import make_editor

    for method in methods:
        editor = make_editor(method)
        for name, values in vary or ():
            for value in values:
                check_field(editor, name, value)
                make_editor(method, **{name: value})


def _records(model: str, records: Path | None, limit: int | None) -> list[Record]:
    """The training records that are swept over.

    Raises:
        InputError: fewer than two, or none can be had.
    """
    from knowedit.evaluation import TRAIN_FILE
    from knowedit.evaluation.records.record import iter_records
    from knowedit.evaluation.runs.evaluate import records_of

    source = records_of(model, records, TRAIN_FILE)
    found = list(islice(iter_records(source) if isinstance(source, Path) else source, limit))
    if len(found) < 2:
        raise InputError(f"{len(found)} records are too few for an interval: give at least two")
    return found


def _grid(
    method: str, layers: Sequence[int], bounds: Sequence[float], rates: Sequence[float], vary: Any
) -> dict[str, Sequence[Any]]:
    """The values of each field: layers of an editor that has them, ε and learning rates where there are known ones.

    Raises:
        InputError: no such editor.
    """
    from knowedit.editing import make_editor

    editor = make_editor(method)
    found: dict[str, Sequence[Any]] = {"layer": layers} if hasattr(editor, "layer") else {}
    found |= {"bound": bounds} if getattr(editor, "bound", None) == "known" else {}
    found |= {"learning_rate": rates} if _is_tuned(editor) else {}
    return found | dict(vary or ())


def _is_tuned(editor: Any) -> bool:
    """Whether an editor's learning rate is that known for the model, so that a sweep can find one."""
    return getattr(editor, "learning_rate", "none") is None


def _watch(tell: Callable[..., None]) -> Callable[[str, int, int], None]:
    def watch(setting: str, done: int, of: int) -> None:
        tell(done, of, text=setting)

    return watch


def _keep(folder: Any, methods: Sequence[str], winners: Mapping[str, SweepRow]) -> None:
    from knowedit.editing import label_of, make_editor
    from knowedit.editing.fine_tuning.known_settings import keep_settings

    editors = map(make_editor, dict.fromkeys(methods))
    tuned = (label_of(editor) for editor in editors if _is_tuned(editor))
    known = {label: {name: winners[label].setting.get(name) for name in FIELDS} for label in tuned}
    keep_settings(folder, known)


def _setting(row: SweepRow) -> dict[str, Any]:
    """The fields with an option of their own, None for one that was not varied; and the others that were."""
    return dict.fromkeys(FIELDS) | dict(row.setting)


def _as_json(found: Sequence[SweepPoint], winners: Mapping[str, SweepRow]) -> dict[str, Any]:
    """A sweep as JSON; values in per cent."""
    points = []
    for one in found:
        row = one.row()
        columns = {key: [value.mean, value.low, value.high] for key, value in row.columns.items()}
        setting = {"method": row.method, **_setting(row)}
        points.append(setting | {"columns": columns, "S": row.score, "failed": one.failed})
    return {"points": points, "best": {name: _setting(row) for name, row in winners.items()}}


def _print(rows: Sequence[SweepRow], winners: Mapping[str, SweepRow]) -> None:
    from knowedit.evaluation.scores.columns import JUDGED

    names = list(dict.fromkeys(name for row in rows for name in _setting(row)))
    table = Table("method", *(safe(FIELDS.get(name, name)) for name in names), *JUDGED, "S", "", box=None)
    for row in rows:
        setting = _setting(row)
        means = (f"{row.columns[key].mean:.1f}" for key in JUDGED)
        mark = "best" if row is winners[row.method] else ""
        shown = (_shown(setting.get(name)) for name in names)
        table.add_row(safe(row.method), *shown, *means, f"{row.score:.1f}", mark)
    console.print(table)
    console.print("[dim]in per cent; S is the harmonic mean of the three, and the best has the largest[/]")


def _shown(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:g}" if isinstance(value, int | float) else safe(value)
