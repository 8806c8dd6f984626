"""Sweeps as in Figures 13 to 15: the columns against the layer, or against ε, one line for each setting of the rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Final, Literal

from knowedit.errors import InputError
from knowedit.evaluation.figures.captions import record_counts
from knowedit.evaluation.runs.sweep_points import SweepRow, best
from knowedit.evaluation.scores.columns import JUDGED, Column
from knowedit.figures import style
from knowedit.figures.lines import banded_line, shared_legend

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Over = Literal["layer", "bound"]

RULE: Final = f"best: the largest harmonic mean of {', '.join(JUDGED[:-1])} and {JUDGED[-1]}"
DRAWN: Final = ("layer", "bound", "learning_rate")
"""The fields with a place or a word of their own; any other is told by its name."""
RINGS: Final = ("o", "s", "D", "^", "v")
LETTER: Final = 0.07
"""Inches that a letter of the legend takes, with some room."""
HANDLE: Final = 0.7
"""Inches of the line before it, and of what is between two columns."""


def sweep_lines(
    rows: Sequence[SweepRow], columns: Sequence[str] = JUDGED, *, over: Over | None = None, title: str = ""
) -> Figure:
    """A panel for each column, with 95 % bands; each method's best setting has a ring round it.

    Several methods may share a figure, such as FT, which has no bound, and FT+L.

    Args:
        rows: the settings of one model on one set of records, in any order.
        columns: keys of `COLUMNS`.
        over: what the axis is; by default the layer, and ε where there is one layer and several ε.
        title: for instance the model.

    Raises:
        InputError: no rows, the same setting twice, or a column that a row has not measured.
    """
    _check(rows, columns)
    sweep = _Sweep(tuple(rows), over or _usual(rows))
    width = max(5.2, 2.9 * len(columns) + 0.4)
    across = sweep.legend_columns(width)
    height = 3.3 + 0.17 * -(-len(sweep.entries) // across)
    with style.drawing(width=width, height=height) as figure:
        same = len({Column.of(key).scaled_unit for key in columns}) == 1
        panels = figure.subplots(1, len(columns), squeeze=False, sharey=same)[0]
        for axes, key in zip(panels, columns, strict=True):
            sweep.draw(axes, key)
            axes.set_ylabel("" if same and axes is not panels[0] else Column.of(key).scaled_unit)
        shared_legend(figure, panels, across)
        figure.suptitle(style.plain("; ".join(sweep.notes(title))), fontsize=9)
        return figure


def _usual(rows: Sequence[SweepRow]) -> Over:
    one_layer = len({row.layer for row in rows}) == 1
    return "bound" if one_layer and len({row.bound for row in rows}) > 1 else "layer"


@dataclass(frozen=True)
class _Sweep:
    rows: tuple[SweepRow, ...]
    over: Over

    @property
    def bounds(self) -> list[float | None]:
        """Every ε from small to large, then no bound."""
        return sorted({row.bound for row in self.rows}, key=_size)

    @property
    def lines(self) -> dict[str, list[SweepRow]]:
        """The rows of each line by its label, along the axis; unbounded first, then from large ε to small."""
        methods = list(dict.fromkeys(row.method for row in self.rows))
        found: dict[str, list[SweepRow]] = {}
        for row in sorted(self.rows, key=lambda row: (methods.index(row.method), *_order(row))):
            found.setdefault(self.label(row), []).append(row)
        return {label: sorted(line, key=self.place) for label, line in found.items()}

    def place(self, row: SweepRow) -> int:
        """Where a row is along the axis."""
        return row.layer if self.over == "layer" else self.bounds.index(row.bound)

    def label(self, row: SweepRow) -> str:
        """The method and what tells its lines apart."""
        return ", ".join((row.method, *self._rest(row)))

    def at(self, row: SweepRow) -> str:
        """The whole setting of a row."""
        place = f"layer {row.layer}" if self.over == "layer" else _bound(row)
        return ", ".join((row.method, place, *self._rest(row)))

    def _rest(self, row: SweepRow) -> list[str]:
        """The setting of a row but for its place, as far as it has to be told."""
        words = []
        if self.over == "layer" and (row.bound is not None or self._varies("bound", row.method)):
            words.append(_bound(row))
        if self.over == "bound" and self._varies("layer"):
            words.append(f"layer {row.layer}")
        if row.learning_rate is not None and self._varies("learning_rate", row.method):
            words.append(f"rate {_number(row.learning_rate)}")
        others = [name for name in row.setting if name not in DRAWN and self._varies(name, row.method)]
        return [*words, *(f"{name} {row.setting[name]}" for name in others)]

    def _varies(self, name: str, method: str | None = None) -> bool:
        return len({row.setting.get(name) for row in self.rows if method in (None, row.method)}) > 1

    @property
    def entries(self) -> list[str]:
        """The lines of the legend."""
        return [*self.lines, *(f"best: {self.at(row)}" for row in self.winners)]

    def legend_columns(self, inches: float) -> int:
        """How many columns of the legend have room beside each other."""
        return max(1, min(3, int(inches / (HANDLE + LETTER * max(map(len, self.entries))))))

    @property
    def winners(self) -> list[SweepRow]:
        """The best of each method of which several settings were tried and judged."""
        judged = [row for row in self.rows if set(JUDGED) <= set(row.columns)]
        tried = Counter(row.method for row in judged)
        return [best(judged, method) for method, count in tried.items() if count > 1]

    def draw(self, axes: Axes, key: str) -> None:
        """One panel."""
        for kind, (label, line) in enumerate(self.lines.items()):
            places, found = [self.place(row) for row in line], [row.columns[key] for row in line]
            mean, low, high = ([getattr(one, end) for one in found] for end in ("mean", "low", "high"))
            banded_line(axes, places, mean, low, high, kind=kind, label=style.plain(label))
        for number, row in enumerate(self.winners):
            axes.plot(
                [self.place(row)],
                [row.columns[key].mean],
                linestyle="none",
                marker=RINGS[number % len(RINGS)],
                markersize=10,
                markerfacecolor="none",
                markeredgecolor="black",
                label=style.plain(f"best: {self.at(row)}"),
            )
        self._label_axis(axes)
        axes.set_title(Column.of(key).heading())

    def _label_axis(self, axes: Axes) -> None:
        if self.over == "layer":
            layers = [row.layer for row in self.rows]
            style.layer_axis(axes, max(layers) + 1, first=min(layers))
            return
        names = ["none" if bound is None else _number(bound) for bound in self.bounds]
        axes.set_xticks(range(len(names)), names)
        axes.set_xlabel("ε" if self._varies("layer") else f"ε (layer {self.rows[0].layer})")

    def notes(self, title: str) -> list[str]:
        """The heading."""
        return [
            *([title] if title else []),
            record_counts(row.n for row in self.rows),
            *([RULE] if self.winners else []),
        ]


def _size(bound: float | None) -> float:
    return inf if bound is None else bound


def _order(row: SweepRow) -> tuple[float, float, int]:
    return -_size(row.bound), row.learning_rate or 0.0, row.layer


def _bound(row: SweepRow) -> str:
    return "no bound" if row.bound is None else f"ε = {_number(row.bound)}"


def _check(rows: Sequence[SweepRow], columns: Sequence[str]) -> None:
    if not rows:
        raise InputError("no rows were given: a figure of a sweep needs at least one setting")
    if not columns:
        raise InputError("no columns were given: a figure of a sweep needs at least one, such as NS")
    seen = set()
    for row in rows:
        for key in columns:
            if Column.of(key).key not in row.columns:
                raise InputError(f"{key} is not measured for {row.method} at {row.setting}: leave it out")
        setting = (row.method, repr(sorted(row.setting.items())))
        if setting in seen:
            raise InputError(
                f"{row.method} at {row.setting} is there twice: give rows of one model and one set of records"
            )
        seen.add(setting)


def _number(value: float) -> str:
    """``5e-4``: short, and without the zeros that make small numbers hard to compare."""
    if value == 0 or value >= 0.01:
        return f"{value:g}"
    mantissa, _, exponent = f"{value:e}".partition("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
