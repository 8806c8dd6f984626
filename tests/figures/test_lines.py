"""What the lines of all figures have in common: they differ without colour, and their bands are the intervals."""

from __future__ import annotations

from math import inf, nan

import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from knowedit.figures import check_suffix, style
from knowedit.figures.lines import banded_line, shared_legend


def grey(colour: str) -> float:
    return sum(part * weight for part, weight in zip(to_rgb(colour), (0.299, 0.587, 0.114), strict=True))


def test_the_first_lines_differ_in_grey_and_the_first_49_in_colour():
    axes = Figure().subplots()
    for kind in range(49):
        banded_line(axes, [0, 1], [0, 1], [0, 1], [0, 1], kind=kind, label=str(kind))
    shapes = [(line.get_linestyle(), line._unscaled_dash_pattern, line.get_marker()) for line in axes.lines]
    assert len({str(shape) for shape in shapes[:7]}) == 7
    assert len({(line.get_color(), str(shape)) for line, shape in zip(axes.lines, shapes, strict=True)}) == 49


def test_areas_and_lines_are_told_apart_in_grey():
    dark, middle, light = grey(style.COLOURS[0]), grey(style.FILL), grey(style.OTHER)
    assert dark + 0.15 < middle < light - 0.15 < 0.85


def test_the_band_is_between_the_ends():
    axes = Figure().subplots()
    banded_line(axes, [2, 3], [5, 6], [4, 5.5], [7, 8], kind=0, label="a")
    corners = axes.collections[0].get_paths()[0].vertices
    assert {tuple(corner) for corner in corners} >= {(2, 4), (3, 5.5), (3, 8), (2, 7)}
    assert axes.lines[0].get_xydata().tolist() == [[2, 5], [3, 6]]


def test_a_single_point_has_a_bar():
    axes = Figure().subplots()
    banded_line(axes, [2], [5], [4], [7], kind=0, label="a")
    assert axes.collections[0].get_segments()[0].tolist() == [[2, 4], [2, 7]]


@pytest.mark.parametrize("end", [inf, nan])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_without_ends_the_line_is_drawn_and_the_axes_are_as_without_a_band(end, count):
    figure = Figure()
    axes = figure.subplots()
    values = [5.0, 6, 7][:count]
    banded_line(axes, range(count), values, [-end] * count, [end] * count, kind=0, label="a")
    figure.draw_without_rendering()
    assert axes.lines[0].get_ydata().tolist() == values
    assert all(4 < limit < 8 for limit in axes.get_ylim())


def test_the_legend_has_what_panels_share_once():
    figure = Figure()
    panels = list(figure.subplots(1, 2))
    for axes, labels in zip(panels, ("ab", "bc"), strict=True):
        for label in labels:
            axes.plot([0], [0], label=label)
    shared_legend(figure, panels, 3)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("first", "stop", "ticks"),
    [
        (0, 12, list(range(12))),
        (0, 48, list(range(0, 48, 4))),
        (13, 17, [13, 14, 15, 16]),
        (13, 40, [16, 20, 24, 28, 32, 36]),
        (5, 6, [5]),
    ],
)
def test_ticks_are_layers_that_there_are(first, stop, ticks):
    axes = Figure().subplots()
    style.layer_axis(axes, stop, first=first)
    assert axes.get_xticks().tolist() == ticks


def test_a_suffix_in_capitals_is_one():
    assert check_suffix("a.PNG") == ".png"
