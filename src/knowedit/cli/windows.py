"""A window as it is typed on the command line."""

from __future__ import annotations

from knowedit.errors import InputError
from knowedit.tracing import Window


def parse_window(text: str, n_layers: int) -> Window:
    """``paper``, ``released``, ``depth`` (`Window.for_depth`), a number of layers, or ``A,B``.

    Raises:
        InputError: anything else.
    """
    named = {"paper": Window.paper(), "released": Window.released(), "depth": Window.for_depth(n_layers)}
    if text in named:
        return named[text]
    numbers = [piece.strip() for piece in text.split(",")]
    if len(numbers) > 2 or not all(number.isdecimal() for number in numbers):
        raise InputError(
            f"the window {text!r} is not known: use paper, released, depth, a number of layers, or A,B for A "
            "layers below the centre and B above"
        )
    found = [int(number) for number in numbers]
    return Window(*found) if len(found) == 2 else Window.paper(found[0])
