"""Distributions over records as in Figures 7 a to c and 16: a row for each run, a panel for each column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from knowedit.errors import InputError
from knowedit.evaluation.figures.bins import Bins
from knowedit.evaluation.runs.run import Run
from knowedit.evaluation.runs.tables import UNEDITED
from knowedit.evaluation.scores.columns import COLUMNS, Column
from knowedit.evaluation.scores.record_scores import RecordScores
from knowedit.figures import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DRAWN: Final = ("EM", "PM", "NM", "GE", "RS", "Essence")
"""The columns that are drawn by default: those where a record has more values than a share of few prompts."""

STEPS: Final = [1, 2, 5, 10]
"""Between the ticks of an axis, times a power of ten."""


def distributions(runs: Sequence[Run], columns: Sequence[str] | None = None) -> Figure:
    """Histograms over records, with the mean; the edited rows also show the unedited model's outline.

    All rows of a column have the same bins and the same scale of heights. A perplexity has a logarithmic axis.

    Args:
        runs: of one model and the same records, from top to bottom.
        columns: keys of `COLUMNS`; by default those of `DRAWN` that were measured. A run without one of them
            has a panel that says so.

    Raises:
        InputError: no runs, runs of several models or sets of records, a method twice, a run without scores, a
            column that was given and is not measured in a run, or a value that is not finite.
    """
    samples = _samples(runs)
    keys = _measured(samples) if columns is None else _given(samples, columns)
    with style.drawing(width=1.1 + 1.75 * len(keys), height=1.1 + 0.72 * len(samples)) as figure:
        grid = figure.subplots(len(samples), len(keys), squeeze=False, sharex="col", sharey="col")
        for place, key in enumerate(keys):
            _draw_column(list(grid[:, place]), samples, key)
        for axes, sample in zip(grid[:, 0], samples, strict=True):
            axes.set_ylabel(
                f"{style.plain(sample.name)}\nn = {sample.n:,}", rotation=0, ha="right", va="center"
            )
        figure.suptitle(style.plain(_heading(runs[0], samples)), fontsize=9)
        return figure


@dataclass(frozen=True)
class _Sample:
    """The values of a run, on the scale of Table 2."""

    name: str
    n: int
    values: dict[str, NDArray[np.float64]]


def _samples(runs: Sequence[Run]) -> list[_Sample]:
    if not runs:
        raise InputError("no runs were given: a figure of distributions needs at least one")
    if len({(run.identity["model"], run.identity["records"]["sha256"]) for run in runs}) > 1:
        raise InputError(
            "the runs are of several models or sets of records, whose distributions cannot be compared: "
            "draw a figure for each"
        )
    samples = [_sample(run) for run in runs]
    names = [sample.name for sample in samples]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"two runs are of {name} with the same records: give one of them")
    return samples


def _sample(run: Run) -> _Sample:
    if not run.scored:
        raise InputError(f"no record of {run.path} was scored ({len(run.failed)} failed): nothing to draw")
    rows = [RecordScores.from_json(outcome.scores or {}).columns for outcome in run.scored]
    found = {}
    for key, column in COLUMNS.items():
        values = np.array([value for row in rows if (value := row[key]) is not None]) * column.scale
        if not np.isfinite(values).all():
            raise InputError(f"a {key} of {run.path} is NaN or infinite: find out which record it comes from")
        if len(values):
            found[key] = values
    name = run.manifest["names"].get("method", run.identity.get("method"))
    return _Sample(str(name), len(rows), found)


def _measured(samples: Sequence[_Sample]) -> list[str]:
    keys = [key for key in DRAWN if any(key in sample.values for sample in samples)]
    if not keys:
        raise InputError(f"none of {', '.join(DRAWN)} is measured in these runs: nothing to draw")
    return keys


def _given(samples: Sequence[_Sample], columns: Sequence[str]) -> list[str]:
    if not columns:
        raise InputError("no columns were given: a figure of distributions needs at least one, such as NM")
    for key in columns:
        for sample in samples:
            if Column.of(key).key not in sample.values:
                raise InputError(
                    f"{key} is not measured in the run of {sample.name}: leave the column or the run out"
                )
    return list(columns)


def _draw_column(panels: Sequence[Axes], samples: Sequence[_Sample], key: str) -> None:
    found = {sample.name: sample.values[key] for sample in samples if key in sample.values}
    bins = Bins.of(np.concatenate(list(found.values())), ratios=COLUMNS[key].unit == "perplexity")
    for axes, sample in zip(panels, samples, strict=True):
        if sample.name in found:
            _draw(axes, found[sample.name], bins, unedited=sample.name == UNEDITED)
            if UNEDITED in found:
                axes.stairs(bins.percent(found[UNEDITED]), bins.edges, color="black", linewidth=0.6)
        else:
            axes.text(
                0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", va="center", fontsize=7
            )
        _label_heights(axes)
    panels[0].set_title(Column.of(key).heading(narrow=True))
    panels[-1].set_xlabel(
        Column.of(key).scaled_unit.replace("difference of probabilities", "difference of P")
    )
    _label_values(panels[-1], bins)


def _draw(axes: Axes, values: NDArray[np.float64], bins: Bins, *, unedited: bool) -> None:
    colour = style.OTHER if unedited else style.FILL
    axes.stairs(bins.percent(values), bins.edges, fill=True, color=colour)
    if bins.edges[0] < 0 < bins.edges[-1]:
        axes.axvline(0, color="black", linewidth=0.4)
    axes.axvline(float(values.mean()), color="black", linestyle="--", linewidth=1)


def _label_heights(axes: Axes) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.yaxis.set_major_locator(MaxNLocator(2, steps=STEPS))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} %" if value else ""))
    axes.tick_params(labelsize=7)


def _label_values(axes: Axes, bins: Bins) -> None:
    """The axis that all panels of a column share."""
    from matplotlib.ticker import MaxNLocator, NullLocator

    if bins.logarithmic:
        axes.set_xscale("log")
        axes.set_xticks(bins.round_numbers(), [f"{value:g}" for value in bins.round_numbers()])
        axes.xaxis.set_minor_locator(NullLocator())
    else:
        axes.xaxis.set_major_locator(MaxNLocator(4, steps=STEPS))


def _heading(run: Run, samples: Sequence[_Sample]) -> str:
    model = str(run.manifest["names"].get("model", run.identity["model"][:12]))
    outline = "; outline: the unedited model" if any(sample.name == UNEDITED for sample in samples) else ""
    return f"{model}: share of records in each bin; dashed: mean{outline}"
