"""What figures call the tokens and the parts of a trace."""

from __future__ import annotations

from typing import TYPE_CHECKING

from knowedit.figures import style

if TYPE_CHECKING:
    from knowedit.tracing.averages import AverageTrace
    from knowedit.tracing.trace import Part, Trace

NAMES: dict[Part, str] = {"hidden": "state", "mlp": "MLP", "attention": "attention"}


def token_labels(trace: Trace) -> list[str]:
    """A label for each row of a map."""
    start, stop = trace.subject
    return [style.token_label(token, corrupted=start <= row < stop) for row, token in enumerate(trace.tokens)]


def restored(trace: Trace | AverageTrace) -> str:
    """What a trace restores, and what it severs, in a few words."""
    name = NAMES[trace.part]
    text = f"one {name}" if trace.window.size == 1 else f"{name}, {trace.window.size} layers"
    return text if trace.sever is None else f"{text}, {NAMES[trace.sever]} severed"
