"""Lines with their 95 % bands, told apart by colour, dashes and marks, and one legend for all panels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from knowedit.figures import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SPARSE = 12
"""A line has a mark at every point, or at about this many of them."""


def banded_line(
    axes: Axes,
    places: Sequence[float],
    mean: Sequence[float],
    low: Sequence[float],
    high: Sequence[float],
    *,
    kind: int,
    label: str,
) -> None:
    """A line and the band between `low` and `high`; a single point has a bar, as its band has no width.

    Args:
        axes: where it is drawn.
        places: along the axis.
        mean: one a place.
        low: the lower ends of the intervals; where one is not finite there is no band.
        high: the upper ends.
        kind: which colour, dashes and marks; the first 49 kinds differ.
        label: of the legend.
    """
    colour, turn = style.COLOURS[kind % len(style.COLOURS)], kind + kind // len(style.COLOURS)
    how: dict[str, Any] = {"color": colour, "linestyle": style.DASHES[turn % len(style.DASHES)]}
    how |= {"marker": style.MARKS[turn % len(style.MARKS)], "markersize": 3.5}
    how |= {"markevery": max(1, len(places) // SPARSE), "linewidth": 1.2, "label": label}
    if len(places) > 1:
        axes.fill_between(places, low, high, color=colour, alpha=0.15, linewidth=0)
    else:
        axes.vlines(places, low, high, color=colour, linewidth=1.2)
    axes.plot(places, mean, **how)


def shared_legend(figure: Figure, panels: Sequence[Axes], columns: int) -> None:
    """One legend under all panels; what several of them have is in it once."""
    found: dict[str, Any] = {}
    for axes in panels:
        handles, labels = axes.get_legend_handles_labels()
        found |= dict(zip(labels, handles, strict=True))
    figure.legend(
        list(found.values()),
        list(found),
        loc="outside lower center",
        ncols=columns,
        frameon=False,
        handlelength=3.5,
    )
