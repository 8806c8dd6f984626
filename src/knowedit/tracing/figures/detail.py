"""One token of a trace, layer by layer, with every draw (Figure 12's view of single cases)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from knowedit.errors import InputError
from knowedit.figures import style
from knowedit.tracing.trace import Trace

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def detail(trace: Trace, token: int | None = None) -> Figure:
    """The probability at one token: a thin line for each draw, a thick one for their mean.

    Args:
        trace: what is drawn.
        token: its place in the prompt; by default the last subject token.

    Raises:
        InputError: a token that the prompt does not have.
    """
    token = trace.subject[1] - 1 if token is None else token
    if not 0 <= token < len(trace.tokens):
        raise InputError(f"there is no token {token}: the prompt has tokens 0 to {len(trace.tokens) - 1}")
    with style.drawing(width=max(4.8, min(8.0, 0.2 * trace.n_layers)), height=3.3) as figure:
        axes = figure.subplots()
        for draw, values in enumerate(trace.restored_draws[:, token].tolist()):
            axes.plot(values, color="#aaaaaa", linewidth=0.7, label="" if draw else "each draw")
        axes.plot(trace.restored[token].tolist(), color="#332288", marker="o", markersize=4, label="mean")
        axes.axhline(trace.clean, color="black", linestyle="--", linewidth=0.8, label="clean")
        axes.axhline(trace.corrupted, color="black", linestyle=":", linewidth=1.2, label="corrupted")
        style.layer_axis(axes, trace.n_layers)
        axes.set_ylabel(f"P({style.plain(trace.answer.strip())})")
        start, stop = trace.subject
        name = style.plain(trace.tokens[token], token=True) + "*" * (start <= token < stop)
        axes.set_title(f"restored: {trace.settings.label} at {name} (token {token})")
        figure.legend(loc="outside lower center", ncols=4, frameon=False)
        return figure
