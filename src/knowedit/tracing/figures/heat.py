"""Heat maps of traces, as in Figures 1, 3 and 9 to 11: a row for each token, a column for each layer."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from knowedit.errors import InputError
from knowedit.figures import style
from knowedit.tracing.trace import Trace

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

LETTER = 0.075
"""Inches that a letter of a title takes, with some room."""


def heat_map(*traces: Trace, titles: Sequence[str] | None = None, ax: Axes | None = None) -> Figure:
    """The probability of the answer, restored at each token and layer.

    Args:
        traces: what is drawn, of one prompt: side by side from left to right, all in one colour scale. The tokens
            that were corrupted have a ``*``.
        titles: one for each trace; by default what is restored.
        ax: axes to draw one trace into; by default a new figure is made.

    Raises:
        InputError: no traces, traces of different prompts, another number of titles, or more than one trace for
            the axes.
    """
    _check(traces, titles, ax)
    first = traces[0]
    columns = max(2.3, min(5.0, 0.2 * first.n_layers))
    width, height = 1.0 + 1.1 + columns * len(traces), 1.35 + 0.2 * max(5, len(first.tokens))
    own = None if ax is None else ax.get_figure(root=True)
    with style.drawing(own, width=width, height=height) as figure:
        panels = [ax] if ax else figure.subplots(1, len(traces), squeeze=False, sharey=True)[0]
        scale = _scale(traces)
        for axes, trace in zip(panels, traces, strict=True):
            drawn = _draw(axes, trace, scale)
        for axes, title in zip(panels, titles or (), strict=False):
            axes.set_title(style.plain(title))
        if ax is None:
            _finish(figure, panels, drawn, traces)
        else:
            figure.colorbar(drawn, ax=ax, label=_meaning(traces))
        return figure


def _check(traces: Sequence[Trace], titles: Sequence[str] | None, ax: Axes | None) -> None:
    if not traces:
        raise InputError("no traces were given: a figure needs at least one")
    if len({trace.token_ids for trace in traces}) > 1:
        raise InputError(
            "the traces are of different prompts, and maps side by side share their rows: "
            "draw one figure for each"
        )
    if titles is not None and len(titles) != len(traces):
        raise InputError(f"{len(titles)} titles for {len(traces)} traces: give one for each, or none")
    if ax is not None and len(traces) > 1:
        raise InputError(f"{len(traces)} traces for one pair of axes: draw one trace into them")


def _finish(figure: Figure, panels: Sequence[Axes], drawn: ScalarMappable, traces: Sequence[Trace]) -> None:
    for axes in panels[1:]:
        axes.tick_params(labelleft=False)
    figure.colorbar(drawn, ax=list(panels), label=_meaning(traces), aspect=25, pad=0.015)
    figure.suptitle(_heading(traces, figure.get_figwidth()), fontsize=9)


def _scale(traces: Sequence[Trace]) -> tuple[float, float]:
    """From what is left of the answer to the best cell of all maps."""
    low = min(min(float(trace.restored.min()), trace.corrupted) for trace in traces)
    high = max(float(trace.restored.max()) for trace in traces)
    return low, max(high, low + 1e-6)


def _draw(axes: Axes, trace: Trace, scale: tuple[float, float]) -> ScalarMappable:
    values = trace.restored.numpy()
    drawn = axes.pcolormesh(
        values, cmap=style.MAP, vmin=scale[0], vmax=scale[1], edgecolors="white", linewidth=0.25
    )
    axes.set_yticks([row + 0.5 for row in range(len(trace.tokens))], _labels(trace))
    axes.set_ylim(len(trace.tokens), 0)
    style.layer_axis(axes, trace.n_layers)
    axes.set_xticks([tick + 0.5 for tick in axes.get_xticks()], [f"{tick:.0f}" for tick in axes.get_xticks()])
    centre = "layer" if trace.settings.window.size == 1 else "centre of the window (layer)"
    axes.set_xlabel(centre)
    axes.tick_params(length=0)
    axes.set_title(f"restored: {trace.settings.label}")
    return drawn


def _labels(trace: Trace) -> list[str]:
    start, stop = trace.subject
    return [
        style.plain(token, token=True) + "*" * (start <= row < stop) for row, token in enumerate(trace.tokens)
    ]


def _meaning(traces: Sequence[Trace]) -> str:
    answers = {trace.answer for trace in traces}
    return f"P({style.plain(answers.pop().strip())})" if len(answers) == 1 else "P(answer)"


def _heading(traces: Sequence[Trace], inches: float) -> str:
    first = traces[0]
    answers = dict.fromkeys(style.plain(trace.answer.strip()) for trace in traces)
    text = f"“{style.plain(first.text)}” … {' / '.join(answers)}"
    lines = textwrap.wrap(text, max(20, int(inches / LETTER)))
    levels = {(f"{trace.clean:.3f}", f"{trace.corrupted:.3f}") for trace in traces}
    if len(levels) == 1:
        lines.append("P without corruption {}, corrupted {}".format(*levels.pop()))
    return "\n".join(lines)
