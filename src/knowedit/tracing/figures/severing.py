"""Figure 4: what a state at the last subject token does, with and without parts severed there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from knowedit.errors import InputError
from knowedit.figures import style
from knowedit.tracing.averages import AverageTrace
from knowedit.tracing.prompts import Role
from knowedit.tracing.trace import Trace

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Dark, middle and light, so that they differ in grey as well.
FILLS = ("#332288", "#44aa99", "#f2c3a0")
WIDTH = 0.27
NAMES = ("nothing severed", "MLP severed", "attention severed")

Either = TypeVar("Either", Trace, AverageTrace)


def severing(plain: Either, mlp_severed: Either, attention_severed: Either) -> Figure:
    """Bars for each layer: the indirect effect at the last subject token, restored minus corrupted.

    Averages have 95 % intervals: those of the restored probability, as the corrupted one is the same for all layers.

    Raises:
        InputError: traces of different prompts, averages over different facts, or traces that do not sever what
            they should.
    """
    traces = (plain, mlp_severed, attention_severed)
    _check(traces)
    layers = np.arange(plain.n_layers)
    with style.drawing(width=min(11.0, max(5.6, 0.3 * len(layers))), height=3.3) as figure:
        axes = figure.subplots()
        for place, (trace, name, colour) in enumerate(zip(traces, NAMES, FILLS, strict=True)):
            effects, ends = _effects(trace)
            how: dict[str, Any] = {"color": colour, "edgecolor": "black", "linewidth": 0.4, "label": name}
            how |= {"yerr": ends, "error_kw": {"elinewidth": 0.6, "capsize": 1.5}}
            axes.bar(layers + (place - 1) * WIDTH, effects, WIDTH, **how)
        axes.axhline(0, color="black", linewidth=0.6)
        style.layer_axis(axes, plain.n_layers)
        axes.set_ylabel("indirect effect (restored − corrupted P)")
        axes.set_title(f"{plain.settings.label} at the last subject token {_whose(plain)}")
        figure.legend(loc="outside lower center", ncols=3, frameon=False)
        return figure


def _effects(trace: Trace | AverageTrace) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """The heights of the bars and, ``(2, layers)``, how far their intervals reach down and up."""
    if isinstance(trace, Trace):
        return trace.indirect_effects[trace.subject[1] - 1].numpy(), None
    row = trace.row(Role.LAST_SUBJECT)
    mean = trace.mean[row]
    return trace.indirect_effects[row], np.stack([mean - trace.low[row], trace.high[row] - mean])


def _whose(trace: Trace | AverageTrace) -> str:
    if isinstance(trace, Trace):
        return style.plain(trace.tokens[trace.subject[1] - 1], token=True) + "*"
    return f"({trace.n_facts} facts)"


def _check(traces: tuple[Trace, ...] | tuple[AverageTrace, ...]) -> None:
    severed = tuple(trace.settings.sever for trace in traces)
    if severed != (None, "mlp", "attention"):
        raise InputError(
            f"the traces sever {severed}, expected (None, 'mlp', 'attention'): give them in this order"
        )
    if len({_same(trace) for trace in traces}) > 1:
        raise InputError(
            "the traces are of different prompts, models, parts or windows: compare those that sever something else"
        )


def _same(trace: Trace | AverageTrace) -> tuple[Any, ...]:
    if isinstance(trace, Trace):
        return trace.token_ids, trace.settings.part, trace.settings.window
    # Facts leave no name in an average; the clean probability is that of these facts and this model.
    return trace.model, trace.n_facts, trace.clean, trace.settings.part, trace.settings.window
