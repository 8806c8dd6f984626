"""What all figures share: the font, the colours, and labels that are printed as they are."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.ft2font import FT2Font

MAP = "magma_r"
"""From light to dark without a turn, so that a map keeps its meaning in grey."""

COLOURS = ("#332288", "#117733", "#cc6677", "#882255", "#44aa99", "#999933", "#555555")
FILL, OTHER = "#8899cc", "#cccccc"
"""Areas, and those of what others are compared with; lighter than the lines, in grey as well."""

MARKS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1, 1, 1)), (0, (1, 2)))

LONGEST = 18
SIGNS = {" ": "\u2423", "\n": "\u21b5", "\t": "\u21e5"}

SETTINGS = {
    "font.family": ["DejaVu Sans"],
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "text.usetex": False,
    "text.parse_math": False,
    "axes.unicode_minus": True,
    "svg.hashsalt": "knowedit",
    "svg.fonttype": "path",
    "svg.id": None,
    "pdf.fonttype": 42,
    "savefig.bbox": None,
    "savefig.pad_inches": 0.1,
    "savefig.facecolor": "white",
}


@contextmanager
def drawing(figure: Figure | None = None, *, width: float = 6.4, height: float = 4.8) -> Iterator[Figure]:
    """A figure to draw into, in our style whatever the user's own settings are; those come back at the end.

    Every text is printed as it is: a dollar sign begins no formula.

    Args:
        figure: to draw into; by default a new white one, known to no global state.
        width: of a new one, in inches.
        height: of a new one, in inches.
    """
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.text import Text

    kept = ("backend", "interactive", "toolbar")
    defaults = {name: value for name, value in matplotlib.rcParamsDefault.items() if name not in kept}
    with matplotlib.rc_context(defaults | SETTINGS):  # type: ignore[arg-type]
        if figure is None:
            figure = Figure(figsize=(width, height), dpi=150, facecolor="white", layout="constrained")
        yield figure
        for text in figure.findobj(Text):
            text.set_parse_math(False)


def plain(text: str, *, token: bool = False) -> str:
    """A text with escapes for what the font lacks.

    Args:
        text: as it is.
        token: it is a token: its spaces are shown, and of a long one the beginning.
    """
    own = _font()
    shown = "".join(letter if letter == " " and not token else _shown(own, letter) for letter in text)
    return shown[: LONGEST - 1] + "…" if token and len(shown) > LONGEST else shown


def _font() -> FT2Font:
    """The font that comes with matplotlib."""
    import matplotlib
    from matplotlib.ft2font import FT2Font

    return FT2Font(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"))


def _shown(own: FT2Font, letter: str) -> str:
    sign = SIGNS.get(letter, letter)
    printable = not unicodedata.category(sign).startswith("C")
    if printable and own.get_char_index(ord(sign)):
        return sign
    return letter.encode("unicode_escape").decode()


def layer_axis(axes: Axes, n_layers: int, label: str = "layer", *, first: int = 0) -> None:
    """Whole numbers at even distances, no more than about twelve, from `first` up to below `n_layers`."""
    steps = (1, 2, 4, 5, 8, 10, 20, 50, 100, n_layers)
    step = next(step for step in steps if n_layers - first <= 12 * step)
    axes.set_xticks(range(-(-first // step) * step, n_layers, step))
    axes.set_xlabel(label)
