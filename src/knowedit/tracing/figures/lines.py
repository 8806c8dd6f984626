"""Averages over facts as in Figures 3j to m: one line for each role, with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from knowedit.errors import InputError
from knowedit.tracing.figures import style
from knowedit.tracing.roles import Role
from knowedit.tracing.trace import Part
from knowedit.tracing.windows import Window

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class AverageLike(Protocol):
    """What is drawn of an average over facts.

    Attributes:
        roles: the rows.
        mean: ``(roles, layers)``: the restored probability, averaged over the facts that have the role.
        low: the lower end of its 95 % interval.
        high: the upper end.
        counts: for each role, how many facts have it.
        corrupted: the mean probability without restoring.
        clean: the mean probability without corruption.
        part: what is restored.
        window: the layers that are restored together.
        n_facts: how many facts.
    """

    @property
    def roles(self) -> Sequence[Role]: ...  # noqa: D102
    @property
    def mean(self) -> Any: ...  # noqa: D102
    @property
    def low(self) -> Any: ...  # noqa: D102
    @property
    def high(self) -> Any: ...  # noqa: D102
    @property
    def counts(self) -> Sequence[int]: ...  # noqa: D102
    @property
    def corrupted(self) -> float: ...  # noqa: D102
    @property
    def clean(self) -> float: ...  # noqa: D102
    @property
    def part(self) -> Part: ...  # noqa: D102
    @property
    def window(self) -> Window: ...  # noqa: D102
    @property
    def n_facts(self) -> int: ...  # noqa: D102


def average_lines(*averages: AverageLike) -> Figure:
    """A panel for each average; a role that no fact has is left out.

    Raises:
        InputError: no averages.
    """
    if not averages:
        raise InputError("no averages were given: a figure needs at least one")
    with style.settings():
        figure = style.new_figure(max(4.6, 3.4 * len(averages) + 0.6), 4.0)
        panels = figure.subplots(1, len(averages), squeeze=False, sharey=True)[0]
        for axes, average in zip(panels, averages, strict=True):
            _draw(axes, average)
        panels[0].set_ylabel("mean P(answer)")
        _legend(figure, panels)
        return style.literal(figure)


def _draw(axes: Axes, average: AverageLike) -> None:
    for row, role in enumerate(average.roles):
        if average.counts[row]:
            _line(axes, average, row, role)
    axes.axhline(average.corrupted, color="black", linewidth=0.8, dashes=(1, 1), label="corrupted")
    style.layer_axis(
        axes, len(average.mean[0]), "layer" if average.window.size == 1 else "centre of the window (layer)"
    )
    size = average.window.size
    what = style.NAMES[average.part]
    axes.set_title(
        f"restored: {f'one {what}' if size == 1 else f'{what}, {size} layers'}\n"
        f"{average.n_facts} facts, clean {average.clean:.3f}"
    )


def _line(axes: Axes, average: AverageLike, row: int, role: Role) -> None:
    mean, low, high = (np.asarray(values[row]) for values in (average.mean, average.low, average.high))
    place, layers = list(Role).index(role), range(len(mean))
    axes.fill_between(layers, low, high, color=style.COLOURS[place], alpha=0.15, linewidth=0)
    axes.plot(
        layers,
        mean,
        color=style.COLOURS[place],
        linestyle=style.DASHES[place],
        marker=style.MARKS[place],
        markersize=3.5,
        markevery=max(1, len(mean) // 12),
        linewidth=1.2,
        label=role.value,
    )


def _legend(figure: Figure, panels: Sequence[Axes]) -> None:
    found: dict[str, Any] = {}
    for axes in panels:
        handles, labels = axes.get_legend_handles_labels()
        found |= dict(zip(labels, handles, strict=True))
    columns = 2 if len(panels) == 1 else 4
    figure.legend(
        list(found.values()),
        list(found),
        loc="outside lower center",
        ncols=columns,
        frameon=False,
        handlelength=3.5,
    )
