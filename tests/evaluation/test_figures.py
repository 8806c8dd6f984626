"""Figures of evaluations show the numbers of their rows and runs, and are the same bytes every time."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from knowedit.errors import InputError
from knowedit.evaluation import COLUMNS, RecordScores, Run, make_table, paper_rows
from knowedit.evaluation.figures import bars, distributions, save, sweep_lines
from knowedit.evaluation.figures.bins import COUNT, Bins
from knowedit.evaluation.runs.run import Outcome
from knowedit.evaluation.runs.sweep_points import SweepRow
from knowedit.evaluation.runs.tables import Row
from knowedit.evaluation.scores.record_scores import Pair
from knowedit.evaluation.scores.texts import TextScores
from knowedit.figures import style
from knowedit.intervals import Interval


def interval(mean, half=4.0):
    return Interval(mean, mean - half, mean + half, 50)


def setting(layer=0, bound=None, method="FT", rate=5e-4, n=50, **columns):
    found = {"ES": 90.0, "PS": 50.0 - layer, "NS": 60.0 + layer} | columns
    setting = {"layer": layer, "bound": bound, "learning_rate": rate}
    return SweepRow(method, setting, {key: interval(value) for key, value in found.items()}, n)


def constrained():
    """FT without a bound, and FT+L with three ε."""
    bounds = (5e-4, 5e-5, 1e-5)
    clamped = [
        setting(layer, bound, "FT+L", NS=70.0 + place)
        for layer in range(3)
        for place, bound in enumerate(bounds)
    ]
    return [setting(layer) for layer in range(3)] + clamped


def over_bounds():
    return [setting(33, bound, "AttnEdit", PS=10.0 + place) for place, bound in enumerate((1e-3, None, 1e-5))]


def pair(probabilities, good):
    new = torch.tensor(probabilities, dtype=torch.float64)
    return Pair(new, 1 - new) if good else Pair(1 - new, new)


def texts(value):
    return TextScores((4 + value,), value / 2, ((-10 * value - 1, 5),))


def run(method="ROME", *, seed=0, records=9, measured=True, failed=0, model="m", sha="r", shift=0.5):
    rng = np.random.default_rng(seed)
    outcomes = []
    for case in range(records):
        one, two, three = (rng.random(3) * 0.5 + [shift, shift, 0.5]).tolist()
        scores = RecordScores(
            pair([one], True),
            pair([two, one], True),
            pair([three], False),
            texts(one) if measured else None,
            case_id=case,
        )
        outcomes.append(Outcome(case, scores.to_json()))
    outcomes += [Outcome(records + case, None, "InputError: no") for case in range(failed)]
    identity = {"model": model, "records": {"sha256": sha, "count": len(outcomes)}}
    manifest = {"names": {"model": "gpt $2$", "method": method}, "run": identity}
    return Run(Path("a-run"), manifest, tuple(outcomes))


def runs():
    return [run("none", shift=0.0), run("ROME", seed=1), run("FT_$x$", seed=2, measured=False, failed=2)]


def values(of, key):
    rows = [RecordScores.from_json(outcome.scores).columns[key] for outcome in of.scored]
    return np.array(rows) * COLUMNS[key].scale


def table():
    return make_table([*paper_rows("gpt2-xl"), *paper_rows("gpt-j")])


FIGURES = {
    "sweep": lambda: sweep_lines(constrained(), title="gpt $2$"),
    "one column": lambda: sweep_lines(
        [setting(0, bound, "FT+L_$x$", rate) for bound in (None, 5e-4) for rate in (1e-3, 5e-4, 0.5)], ["NS"]
    ),
    "bounds": lambda: sweep_lines(over_bounds()),
    "distributions": lambda: distributions(runs()),
    "magnitudes": lambda: distributions(runs(), ["EM", "PM", "NM"]),
    "bars": lambda: bars(table()),
    "one row": lambda: bars(make_table(paper_rows("gpt-j")[:1])),
}


@pytest.fixture(scope="module", params=FIGURES)
def drawn(request):
    """A figure whose places are known."""
    figure = FIGURES[request.param]()
    figure.draw_without_rendering()
    return figure


@pytest.mark.parametrize("name", ["one column", "magnitudes", "one row"])
def test_the_same_figure_is_the_same_bytes(name, tmp_path):
    for file in ("a.svg", "b.svg"):
        save(FIGURES[name](), tmp_path / file)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_nothing_is_cut_off(drawn):
    box, own = drawn.get_tightbbox(), drawn.get_size_inches()
    assert min(box.x0, box.y0) >= 0
    assert box.x1 <= own[0]
    assert box.y1 <= own[1]


def test_no_legend_covers_data(drawn):
    for legend in drawn.legends:
        covered = legend.get_window_extent()
        assert not any(covered.overlaps(axes.get_tightbbox()) for axes in drawn.axes)


def shown(text):
    """The box of what is shown of a text, which may end with empty lines."""
    box, count = text.get_window_extent(), len(text.get_text().split("\n"))
    empty = count - len(text.get_text().rstrip().split("\n"))
    return Bbox.from_extents(box.x0, box.y0 + box.height * empty / count, box.x1, box.y1)


def test_headings_do_not_overlap(drawn):
    names = [part for axes in drawn.axes for part in (axes.title, axes._left_title, axes.xaxis.label)]
    boxes = [shown(text) for text in (*names, drawn._suptitle) if text.get_text().strip()]
    assert not any(a.overlaps(b) for place, a in enumerate(boxes) for b in boxes[:place])


def test_texts_are_literal(drawn):
    assert not any(text.get_parse_math() for text in drawn.findobj(Text) if "$" in text.get_text())


def lines(axes):
    return {line.get_label(): line for line in axes.lines}


def test_a_sweep_has_a_panel_a_column_and_a_line_a_bound():
    rows = constrained()
    figure = sweep_lines(rows)
    assert [axes.get_title() for axes in figure.axes] == [
        "ES ↑\nefficacy, success",
        "PS ↑\ngeneralisation, success",
        "NS ↑\nspecificity, success",
    ]
    labels = ["FT", "FT+L, ε = 5e-4", "FT+L, ε = 5e-5", "FT+L, ε = 1e-5"]
    for axes, key in zip(figure.axes, ("ES", "PS", "NS"), strict=True):
        found = lines(axes)
        assert list(found)[:4] == labels
        for label, bound in zip(labels, (None, 5e-4, 5e-5, 1e-5), strict=True):
            own = [(row.layer, row.columns[key].mean) for row in rows if row.bound == bound]
            assert found[label].get_xydata().tolist() == [list(point) for point in own]
        assert len({(found[label].get_linestyle(), found[label].get_marker()) for label in labels}) == 4
        assert len(axes.collections) == 4
    assert figure.get_suptitle() == "50 records; best: the largest harmonic mean of ES, PS and NS"


def test_the_best_of_each_method_has_a_ring_in_every_panel():
    rows = [setting(0), setting(1, ES=99.0), setting(2), *constrained()[3:]]
    rows[4] = setting(0, 5e-5, "FT+L", NS=99.0)
    figure = sweep_lines(rows)
    for axes, key in zip(figure.axes, ("ES", "PS", "NS"), strict=True):
        rings = {line.get_label(): line for line in axes.lines if line.get_linestyle() == "None"}
        assert list(rings) == ["best: FT, layer 1", "best: FT+L, layer 0, ε = 5e-5"]
        assert [ring.get_xydata().tolist() for ring in rings.values()] == [
            [[1, rows[1].columns[key].mean]],
            [[0, rows[4].columns[key].mean]],
        ]
        assert len({ring.get_marker() for ring in rings.values()}) == 2
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == list(lines(figure.axes[0]))


def test_the_order_of_the_rows_changes_no_line():
    first, second = (sweep_lines(rows) for rows in (constrained(), constrained()[::-1]))
    points = [
        {label: line.get_xydata().tolist() for label, line in lines(figure.axes[2]).items()}
        for figure in (first, second)
    ]
    assert points[0] == points[1]


def test_learning_rates_are_told_where_there_are_several():
    rows = [setting(layer, rate=rate) for layer in (0, 1) for rate in (1e-3, 5e-4)]
    found = lines(sweep_lines(rows).axes[0])
    assert list(found)[:2] == ["FT, rate 5e-4", "FT, rate 1e-3"]
    same = sweep_lines([setting(layer, rate=0.5) for layer in (0, 1)])
    assert list(lines(same.axes[0])) == ["FT", "best: FT, layer 0"]


def test_no_bound_is_told_where_the_method_has_bounds_too():
    rows = [setting(layer, bound) for layer in (0, 1) for bound in (None, 5e-4)]
    assert list(lines(sweep_lines(rows).axes[0]))[:2] == ["FT, no bound", "FT, ε = 5e-4"]


def test_one_layer_and_several_bounds_are_drawn_over_the_bound():
    figure = sweep_lines(over_bounds())
    axes = figure.axes[1]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1e-5", "1e-3", "none"]
    assert axes.get_xlabel() == "ε (layer 33)"
    found = lines(axes)
    assert list(found) == ["AttnEdit", "best: AttnEdit, ε = 1e-5"]
    assert found["AttnEdit"].get_xydata().tolist() == [[0, 12], [1, 10], [2, 11]]


def test_several_layers_over_the_bound_are_lines():
    rows = [setting(layer, bound) for layer in (3, 7) for bound in (1e-4, 1e-3)]
    figure = sweep_lines(rows, over="bound")
    assert list(lines(figure.axes[0]))[:2] == ["FT, layer 3", "FT, layer 7"]
    assert figure.axes[0].get_xlabel() == "ε"


def test_one_setting_needs_no_ring_and_counts_may_differ():
    figure = sweep_lines([setting(0), setting(0, 1e-4, "FT+L", n=48)], over="layer")
    assert list(lines(figure.axes[0])) == ["FT", "FT+L, ε = 1e-4"]
    assert figure.get_suptitle() == "48 to 50 records"


def test_columns_that_no_setting_is_judged_by():
    rows = [SweepRow("FT", {"layer": layer}, {"GE": interval(600.0)}, 50) for layer in (0, 1)]
    figure = sweep_lines(rows, ["GE"])
    assert list(lines(figure.axes[0])) == ["FT"]
    assert figure.axes[0].get_ylabel() == "bits × 100"


@pytest.mark.parametrize(
    ("value", "text"),
    [(5e-4, "5e-4"), (1e-5, "1e-5"), (1.5e-3, "1.5e-3"), (0.01, "0.01"), (0.5, "0.5"), (10, "10"), (0, "0")],
)
def test_numbers_are_short(value, text):
    figure = sweep_lines([setting(0, value, "FT+L")], over="layer")
    assert list(lines(figure.axes[0])) == [f"FT+L, ε = {text}"]


def stairs(axes):
    return [patch for patch in axes.patches if hasattr(patch, "get_data")]


def test_distributions_have_a_row_a_run_and_a_panel_a_column():
    given = runs()
    figure = distributions(given)
    grid = np.array(figure.axes).reshape(3, 6)
    assert [axes.get_title().split()[0] for axes in grid[0]] == ["EM", "PM", "NM", "GE", "RS", "Essence"]
    assert [axes.get_ylabel() for axes in grid[:, 0]] == ["none\nn = 9", "ROME\nn = 9", "FT_$x$\nn = 9"]
    for row, of in zip(grid, given, strict=True):
        for axes, key in zip(row[:3], ("EM", "PM", "NM"), strict=True):
            heights, edges, _ = stairs(axes)[0].get_data()
            own = values(of, key)
            assert heights.tolist() == pytest.approx(100 / 9 * np.histogram(own, edges)[0])
            assert sum(heights) == pytest.approx(100)
            assert any(list(line.get_xdata()) == pytest.approx([own.mean()] * 2) for line in axes.lines)


def test_the_rows_of_a_column_share_bins_and_heights():
    grid = np.array(distributions(runs()).axes).reshape(3, 6)
    for column in grid.T:
        drawn = [stairs(axes)[0].get_data().edges.tolist() for axes in column if stairs(axes)]
        assert all(edges == drawn[0] for edges in drawn)
        assert len({axes.get_ylim() for axes in column}) == len({axes.get_xlim() for axes in column}) == 1


def test_edited_rows_have_the_outline_of_the_unedited():
    grid = np.array(distributions(runs(), ["EM"]).axes).reshape(3, 1)
    unedited = stairs(grid[0, 0])[0]
    for axes in grid[:, 0]:
        assert stairs(axes)[1].get_data().values.tolist() == unedited.get_data().values.tolist()
    assert len({stairs(axes)[0].get_facecolor() for axes in grid[:, 0]}) == 2
    alone = distributions(runs()[1:], ["EM"])
    assert [len(stairs(axes)) for axes in alone.axes] == [1, 1]
    assert "outline" not in alone.get_suptitle()


def test_what_a_run_has_not_measured_is_said_in_its_panels():
    grid = np.array(distributions(runs()).axes).reshape(3, 6)
    said = [[bool(axes.texts) for axes in row] for row in grid]
    assert said == [[False] * 6, [False] * 6, [False] * 3 + [True] * 3]
    assert grid[2, 5].texts[0].get_text() == "not measured"
    assert not stairs(grid[2, 5])


def test_columns_that_no_run_has_are_left_out():
    assert len(distributions([run(measured=False)]).axes) == 3


@pytest.mark.parametrize("value", [-100.0, 0.0, 1e-9, 3.0])
def test_values_that_are_all_the_same_are_in_the_middle_of_their_bins(value):
    bins = Bins.of(np.array([value, value]), ratios=True)
    assert (np.diff(bins.edges) > 0).all()
    assert bins.edges[COUNT // 2 - 1] < value < bins.edges[COUNT // 2 + 1]
    assert bins.percent(np.array([value])).sum() == 100


def test_bins_hold_every_value_and_far_perplexities_are_on_a_logarithmic_axis():
    near, far = np.array([2.0, 3.0, 9.0]), np.array([3.0, 40.0, 12345.6])
    for found, even in ((near, np.diff), (far, lambda edges: np.diff(np.log(edges)))):
        bins = Bins.of(found, ratios=True)
        assert bins.percent(found).sum() == pytest.approx(100)
        assert len(bins.edges) == COUNT + 1
        np.testing.assert_allclose(even(bins.edges), even(bins.edges)[0])
    assert not Bins.of(far, ratios=False).logarithmic
    assert not Bins.of(np.array([-1.0, 90.0]), ratios=True).logarithmic
    assert Bins.of(far, ratios=True).round_numbers() == [5.0, 50.0, 500.0, 5000.0]


def test_a_logarithmic_axis_has_round_ticks():
    far = run("KN", seed=3)
    last = RecordScores.from_json(far.outcomes[-1].scores)
    far_text = replace(texts(0.5), essence=((-100.0, 10),))
    outcome = Outcome(99, replace(last, texts=far_text).to_json())
    axes = distributions([replace(far, outcomes=(*far.outcomes[:-1], outcome))], ["Essence"]).axes[0]
    assert axes.get_xscale() == "log"
    assert [label.get_text() for label in axes.get_xticklabels()] == ["5", "50", "500", "5000"]


def test_bars_have_a_block_a_group_and_a_panel_a_column():
    found = table()
    figure = bars(found)
    grid = np.array(figure.axes).reshape(2, 9)
    assert [axes.get_title().split()[0] for axes in grid[0]] == list(COLUMNS)
    assert [axes.get_title("left").strip() for axes in grid[:, 0]] == [
        "GPT-2 XL (paper), 7,500 records",
        "GPT-J (paper), 2,000 records",
    ]
    figure.draw_without_rendering()
    assert len({axes.title.get_window_extent().y0 for axes in grid[0]}) == 1
    for block, group in zip(grid, ("paper gpt2-xl", "paper gpt-j"), strict=True):
        rows = [row for row in found.rows if row.group == group]
        assert [label.get_text() for label in block[0].get_yticklabels()] == [row.method for row in rows]
        for axes, key in zip(block, COLUMNS, strict=True):
            assert [bar.get_width() for bar in axes.patches] == [row.columns[key].mean for row in rows]
            ends = [line.get_segments()[0][:, 0].tolist() for line in axes.collections[1::2]]
            assert ends == [[row.columns[key].low, row.columns[key].high] for row in rows]
            dark = [style_of(bar) == style.COLOURS[0] for bar in axes.patches]
            assert dark == [found.is_best(row, key) for row in rows]
            assert style_of(axes.patches[0]) == style.OTHER


def style_of(bar):
    from matplotlib.colors import to_hex

    return to_hex(bar.get_facecolor())


def test_the_unedited_row_is_a_line_through_its_block():
    rows = make_table(paper_rows("gpt-j"))
    axes = bars(rows).axes[4]
    dashed = [line for line in axes.lines if line.get_linestyle() == "--"]
    assert [line.get_xdata()[0] for line in dashed] == [83.0]


def test_bars_of_rows_with_other_columns():
    one = Row("a", "m", {"ES": interval(50.0)}, 9, group="g")
    two = Row("b", "m", {"NS": Interval(60.0, -math.inf, math.inf, 1)}, 1, group="g")
    figure = bars(make_table([one, two]))
    assert [axes.get_title().split()[0] for axes in figure.axes] == ["ES", "NS"]
    assert [len(axes.patches) for axes in figure.axes] == [1, 1]
    assert [axes.texts[0].get_position()[1] for axes in figure.axes] == [1, 0]
    assert not figure.axes[1].collections
    assert figure.axes[0].get_title("left").startswith("m, 1 to 9 records")


def one_infinite():
    found = run(records=1)
    scores = RecordScores.from_json(found.outcomes[0].scores)
    text = replace(texts(0.5), essence=((-math.inf, 1),))
    return replace(found, outcomes=(Outcome(0, replace(scores, texts=text).to_json()),))


MISTAKES = {
    "no rows": (lambda: sweep_lines([]), "at least one setting"),
    "no columns of a sweep": (lambda: sweep_lines([setting()], []), "at least one, such as NS"),
    "an unknown column": (
        lambda: sweep_lines([setting()], ["XS"]),
        "no column 'XS': expected some of ES, EM",
    ),
    "an unmeasured column": (
        lambda: sweep_lines([setting(), setting(1, GE=600.0)], ["NS", "GE"]),
        "GE is not measured for FT at .*'layer': 0.* leave it out",
    ),
    "rows of two models": (
        lambda: sweep_lines([setting(), setting()]),
        "is there twice: give rows of one model",
    ),
    "no runs": (lambda: distributions([]), "at least one"),
    "runs of two models": (lambda: distributions([run(), run("FT", model="n")]), "several models"),
    "runs of other records": (lambda: distributions([run(), run("FT", sha="s")]), "sets of records"),
    "a method twice": (lambda: distributions([run(), run()]), "two runs are of ROME"),
    "nothing scored": (lambda: distributions([run(records=0, failed=2)]), r"a-run was scored \(2 failed\)"),
    "a column of some runs": (
        lambda: distributions(runs(), ["EM", "GE"]),
        "GE is not measured in the run of FT_",
    ),
    "no such column": (lambda: distributions(runs(), ["S"]), "no column 'S'"),
    "no columns": (lambda: distributions(runs(), []), "such as NM"),
    "an infinite perplexity": (
        lambda: distributions([one_infinite()]),
        "Essence of a-run is NaN or infinite",
    ),
    "an empty table": (lambda: bars(make_table([])), "no measured value"),
    "an unmeasured table": (lambda: bars(make_table([Row("a", "m", {}, 1)])), "no measured value"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes(name):
    call, words = MISTAKES[name]
    with pytest.raises(InputError, match=words):
        call()
