"""Heat maps of traces, as in Figures 1, 3 and 9 to 11: a row for each token, a column for each layer."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from knowedit.errors import InputError
from knowedit.figures import style
from knowedit.tracing.figures import wording
from knowedit.tracing.trace import Trace

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

LETTER = 0.075
"""Inches that a letter of a title takes, with some room."""


def heat_map(trace: Trace, ax: Axes | None = None) -> Figure:
    """One trace: the probability of the answer, restored at each token and layer.

    Args:
        trace: what is drawn; the tokens that were corrupted have a ``*``.
        ax: axes to draw into; by default a new figure is made.
    """
    with style.settings():
        if ax is None:
            return style.literal(_side_by_side([trace])[0])
        drawn = _draw(ax, trace, _scale([trace]))
        figure = ax.get_figure(root=True)
        assert figure is not None
        figure.colorbar(drawn, ax=ax, label=_meaning([trace]))
        return style.literal(figure)


def heat_maps(traces: Sequence[Trace], titles: Sequence[str] | None = None) -> Figure:
    """Several traces of one prompt side by side, all in one colour scale.

    Args:
        traces: what is drawn, from left to right.
        titles: one for each; by default what is restored.

    Raises:
        InputError: no traces, traces of different prompts, or another number of titles.
    """
    if not traces:
        raise InputError("no traces were given: a figure needs at least one")
    if len({trace.token_ids for trace in traces}) > 1:
        raise InputError(
            "the traces are of different prompts, and maps side by side share their rows: "
            "draw one figure for each"
        )
    if titles is not None and len(titles) != len(traces):
        raise InputError(f"{len(titles)} titles for {len(traces)} traces: give one for each, or none")
    with style.settings():
        figure, panels = _side_by_side(traces)
        for axes, title in zip(panels, titles or (), strict=False):
            axes.set_title(style.plain(title))
        return style.literal(figure)


def _side_by_side(traces: Sequence[Trace]) -> tuple[Figure, Sequence[Axes]]:
    first = traces[0]
    columns = max(2.3, min(5.0, 0.2 * first.n_layers))
    figure = style.new_figure(1.0 + 1.1 + columns * len(traces), 1.35 + 0.2 * max(5, len(first.tokens)))
    panels = figure.subplots(1, len(traces), squeeze=False, sharey=True)[0]
    scale = _scale(traces)
    for axes, trace in zip(panels, traces, strict=True):
        drawn = _draw(axes, trace, scale)
    for axes in panels[1:]:
        axes.tick_params(labelleft=False)
    figure.colorbar(drawn, ax=list(panels), label=_meaning(traces), aspect=25, pad=0.015)
    figure.suptitle(_heading(traces, figure.get_figwidth()), fontsize=9)
    return figure, panels


def _scale(traces: Sequence[Trace]) -> tuple[float, float]:
    """From what is left of the answer to the best cell of all maps."""
    low = min(min(float(trace.effects.min()), trace.corrupted_score) for trace in traces)
    high = max(float(trace.effects.max()) for trace in traces)
    return low, max(high, low + 1e-6)


def _draw(axes: Axes, trace: Trace, scale: tuple[float, float]) -> ScalarMappable:
    values = trace.effects.numpy()
    drawn = axes.pcolormesh(
        values, cmap=style.MAP, vmin=scale[0], vmax=scale[1], edgecolors="white", linewidth=0.25
    )
    axes.set_yticks([row + 0.5 for row in range(len(trace.tokens))], wording.token_labels(trace))
    axes.set_ylim(len(trace.tokens), 0)
    style.layer_axis(axes, trace.n_layers)
    axes.set_xticks([tick + 0.5 for tick in axes.get_xticks()], [f"{tick:.0f}" for tick in axes.get_xticks()])
    centre = "layer" if trace.window.size == 1 else "centre of the window (layer)"
    axes.set_xlabel(centre)
    axes.tick_params(length=0)
    axes.set_title(f"restored: {wording.restored(trace)}")
    return drawn


def _meaning(traces: Sequence[Trace]) -> str:
    answers = {trace.answer for trace in traces}
    return f"P({style.plain(answers.pop().strip())})" if len(answers) == 1 else "P(answer)"


def _heading(traces: Sequence[Trace], inches: float) -> str:
    first = traces[0]
    answers = dict.fromkeys(style.plain(trace.answer.strip()) for trace in traces)
    text = f"“{style.plain(first.text)}” … {' / '.join(answers)}"
    lines = textwrap.wrap(text, max(20, int(inches / LETTER)))
    levels = {(f"{trace.clean_score:.3f}", f"{trace.corrupted_score:.3f}") for trace in traces}
    if len(levels) == 1:
        lines.append("P without corruption {}, corrupted {}".format(*levels.pop()))
    return "\n".join(lines)
