"""Figure 4: what a state at the last subject token does, with and without parts severed there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from knowedit.errors import InputError
from knowedit.tracing.figures import style
from knowedit.tracing.trace import Trace

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FILLS = (("#332288", ""), ("#44aa99", "///"), ("#f2c3a0", "..."))
WIDTH = 0.27


def severing(plain: Trace, mlp_severed: Trace, attention_severed: Trace) -> Figure:
    """Bars for each layer: the indirect effect at the last subject token, restored minus corrupted.

    Raises:
        InputError: traces of different prompts, or traces that do not sever what they should.
    """
    traces = (plain, mlp_severed, attention_severed)
    _check(traces)
    with style.settings():
        layers = np.arange(plain.n_layers)
        figure = style.new_figure(min(11.0, max(5.6, 0.3 * len(layers))), 3.3)
        axes = figure.subplots()
        names = ("nothing severed", "MLP severed", "attention severed")
        for place, (trace, name, (colour, hatch)) in enumerate(zip(traces, names, FILLS, strict=True)):
            axes.bar(
                layers + (place - 1) * WIDTH,
                trace.indirect_effects[trace.subject[1] - 1].numpy(),
                WIDTH,
                color=colour,
                hatch=hatch,
                edgecolor="black",
                linewidth=0.4,
                label=name,
            )
        axes.axhline(0, color="black", linewidth=0.6)
        style.layer_axis(axes, plain.n_layers)
        axes.set_ylabel("restored − corrupted P")
        token = style.token_label(plain.tokens[plain.subject[1] - 1], corrupted=True)
        axes.set_title(f"{style.restored(plain)} at the last subject token {token}")
        figure.legend(loc="outside lower center", ncols=3, frameon=False)
        return style.literal(figure)


def _check(traces: tuple[Trace, Trace, Trace]) -> None:
    severed = tuple(trace.sever for trace in traces)
    if severed != (None, "mlp", "attention"):
        raise InputError(
            f"the traces sever {severed}, expected (None, 'mlp', 'attention'): give them in this order"
        )
    if len({(trace.token_ids, trace.part, trace.window) for trace in traces}) > 1:
        raise InputError(
            "the traces are of different prompts, parts or windows: compare traces that differ in what is severed"
        )
