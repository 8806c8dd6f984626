"""Averages over facts as in Figures 3j to m: one line for each role, with its interval."""

from __future__ import annotations

from typing import TYPE_CHECKING

from knowedit.errors import InputError
from knowedit.figures import style
from knowedit.figures.lines import banded_line, shared_legend
from knowedit.intervals import FEW
from knowedit.tracing.averages import AverageTrace
from knowedit.tracing.prompts import Role

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def average_lines(*averages: AverageTrace) -> Figure:
    """A panel for each average; a role that no fact has is left out.

    Raises:
        InputError: no averages.
    """
    if not averages:
        raise InputError("no averages were given: a figure needs at least one")
    with style.drawing(width=max(4.6, 3.4 * len(averages) + 0.6), height=4.0) as figure:
        panels = figure.subplots(1, len(averages), squeeze=False, sharey=True)[0]
        for axes, average in zip(panels, averages, strict=True):
            _draw(axes, average)
        panels[0].set_ylabel("mean P(answer)")
        shared_legend(figure, panels, 2 if len(panels) == 1 else 4)
        return figure


def _draw(axes: Axes, average: AverageTrace) -> None:
    for row, role in enumerate(average.roles):
        if average.counts[row]:
            _line(axes, average, row, role)
    axes.axhline(average.corrupted.mean, color="black", linewidth=0.8, dashes=(1, 1), label="corrupted")
    style.layer_axis(
        axes,
        average.n_layers,
        "layer" if average.settings.window.size == 1 else "centre of the window (layer)",
    )
    few = " (few)" * (average.n_facts < FEW)
    axes.set_title(
        f"restored: {average.settings.label}\n{average.n_facts} facts{few}, clean {average.clean.mean:.3f}"
    )


def _line(axes: Axes, average: AverageTrace, row: int, role: Role) -> None:
    mean, low, high = (values[row].tolist() for values in (average.mean, average.low, average.high))
    kind = list(Role).index(role)
    banded_line(axes, range(len(mean)), mean, low, high, kind=kind, label=role.value)
