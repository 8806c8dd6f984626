"""A trace in the terminal: a table of numbers that is also a heat map where there are colours."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from knowedit.text import visible

if TYPE_CHECKING:
    from knowedit.tracing import Trace

LABEL = 16
BEST = 3
WIDEST = 4
LIGHT, DARK = (252, 240, 230), (59, 15, 112)
PART = {"hidden": "hidden states", "mlp": "MLP outputs", "attention": "attention outputs"}


def heat_lines(trace: Trace, width: int) -> Iterator[Text]:
    """A table of at most ``width`` columns, in percent or, with many layers, in tenths; and its best cells."""
    yield from _table(trace, width)
    yield from _best_cells(trace)


def _table(trace: Trace, width: int) -> Iterator[Text]:
    room = max(1, width - LABEL - 1)
    cell = max(1, min(WIDEST, room // trace.n_layers))
    step = 1 if cell > 1 else -(-trace.n_layers // room)
    layers = range(0, trace.n_layers, step)
    unit = "percent" if cell > 2 else "tenths, 9 is 0.9 and more"
    every = "" if step == 1 else f"; every {step}th layer"
    settings = trace.settings
    window = "" if settings.window.size == 1 else f", windows of {settings.window.size} layers"
    severed = "" if settings.sever is None else f", {settings.sever} severed"
    yield Text(f"restored {PART[settings.part]}{window}{severed}", style="bold")
    yield Text(f"P in {unit}{every}")
    yield Text(" " * LABEL) + Text("".join(_header(layers, cell)), style="dim")
    high = max(float(trace.restored.max()), 1e-9)
    for token, row in enumerate(trace.restored.tolist()):
        line = Text(_label(trace, token))
        for layer in layers:
            line.append(_number(row[layer], cell), style=_style(row[layer] / high))
        yield line


def _header(layers: range, cell: int) -> Iterator[str]:
    if cell > 2:
        yield from (f"{layer:>{cell}}" for layer in layers)
        return
    every = 5 if layers.step == 1 else 10
    text = [" "] * (cell * len(layers) + 3)
    for place, layer in enumerate(layers):
        if place % every == 0:
            text[cell * place : cell * place + len(str(layer))] = str(layer)
    yield "".join(text[: cell * len(layers)])


def _label(trace: Trace, token: int) -> str:
    start, stop = trace.subject
    mark = "*" if start <= token < stop else " "
    shown = visible(trace.tokens[token]).replace(" ", "\u2423")
    if cell_len(shown) > LABEL - 2:
        shown = set_cell_size(shown, LABEL - 3) + "…"
    return set_cell_size(shown + mark, LABEL)


def _number(probability: float, cell: int) -> str:
    if cell > 2:
        return f"{100 * probability:>{cell}.0f}"
    return f"{min(9, int(10 * probability)):>{cell}}"


def _style(share: float) -> str:
    share = min(1.0, max(0.0, share))
    red, green, blue = (round(a + share * (b - a)) for a, b in zip(LIGHT, DARK, strict=True))
    return f"{'white' if share > 0.5 else 'black'} on rgb({red},{green},{blue})"


def _best_cells(trace: Trace) -> Iterator[Text]:
    """The cells that bring back most, at different tokens."""
    restored = trace.restored
    tokens = restored.max(dim=1).values.argsort(descending=True)[:BEST].tolist()
    yield Text("best layer at the best tokens:")
    for token in tokens:
        layer = int(restored[token].argmax())
        gain = float(trace.indirect_effects[token, layer])
        yield Text(
            f"  {_label(trace, token)} layer {layer:>2}  P {float(restored[token, layer]):.3f}  "
            f"({gain:+.3f}, {trace.roles[token].value})"
        )
