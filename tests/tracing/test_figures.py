"""Figures show the numbers of the trace, print labels as they are, and are the same bytes every time."""

from __future__ import annotations

from types import SimpleNamespace

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.text import Text

from knowedit.errors import InputError
from knowedit.figures.style import MAP, plain
from knowedit.tracing import Role, TraceSettings, Window
from knowedit.tracing.figures import average_lines, detail, heat_map, save, severing
from tests.tracing.made import made


def average(counts: tuple[int, ...] = (0, 9, 9, 9, 9, 9, 9)) -> SimpleNamespace:
    mean = torch.arange(7.0)[:, None] / 10 + torch.arange(6.0) / 100
    mean[0] = torch.nan
    return SimpleNamespace(
        roles=tuple(Role),
        mean=mean,
        low=mean - 0.1,
        high=mean + 0.1,
        counts=counts,
        corrupted=SimpleNamespace(mean=0.05),
        clean=SimpleNamespace(mean=0.9),
        settings=TraceSettings("mlp", Window(1, 1)),
        n_layers=6,
        n_facts=9,
    )


FIGURES = {
    "map": lambda: heat_map(made()),
    "maps": lambda: heat_map(made(), made(part="mlp", window=Window(1, 1), seed=1)),
    "large": lambda: heat_map(made(20, 48)),
    "severing": lambda: severing(made(), made(sever="mlp", seed=1), made(sever="attention", seed=2)),
    "detail": lambda: detail(made()),
    "average": lambda: average_lines(average(), average()),
}


def texts(figure) -> list[str]:
    figure.draw_without_rendering()
    return [text.get_text() for text in figure.findobj(Text) if text.get_visible()]


def meshes(figure):
    return [axes.collections[0] for axes in figure.axes if axes.get_title().startswith("restored")]


FILES = [(name, ".svg") for name in FIGURES]
FILES += [(name, suffix) for name in ("maps", "average") for suffix in (".png", ".pdf")]


@pytest.mark.parametrize(("name", "suffix"), FILES)
def test_the_same_figure_is_the_same_bytes(name, suffix, tmp_path):
    for file in ("a", "b"):
        save(FIGURES[name](), tmp_path / (file + suffix))
    first = (tmp_path / f"a{suffix}").read_bytes()
    assert first == (tmp_path / f"b{suffix}").read_bytes()
    assert first[:5] in (b"\x89PNG\r", b"<?xml", b"%PDF-")
    assert b"<dc:date>" not in first
    assert b"CreationDate" not in first


def test_the_user_s_settings_neither_matter_nor_change(tmp_path):
    save(FIGURES["map"](), tmp_path / "a.svg")
    odd = {"font.family": "serif", "font.size": 30, "svg.hashsalt": "x", "axes.grid": True}
    with matplotlib.rc_context(odd):
        before = dict(matplotlib.rcParams)
        save(FIGURES["map"](), tmp_path / "b.svg")
        assert dict(matplotlib.rcParams) == before
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_a_map_shows_every_effect_and_the_scale_is_shared():
    traces = [made(), made(seed=1, part="mlp")]
    found = meshes(heat_map(*traces))
    for mesh, trace in zip(found, traces, strict=True):
        np.testing.assert_array_equal(mesh.get_array().reshape(12, 6), trace.restored.numpy())
    assert found[0].get_clim() == found[1].get_clim()
    assert found[0].get_clim()[1] == max(float(trace.restored.max()) for trace in traces)


def test_corrupted_tokens_are_marked_and_labels_are_literal():
    figure = heat_map(made())
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels[:4] == ["The", "␣$x_1$*", "␣Need*", "le"]
    assert labels[5:9] == ["␣\\u6771\\u4eac", "_down", "↵", "␣a^{b}"]
    assert "P($5_a$)" in texts(figure)
    assert not any(text.get_parse_math() for text in figure.findobj(Text))


@pytest.mark.parametrize("name", FIGURES)
def test_nothing_is_cut_off(name):
    figure = FIGURES[name]()
    figure.draw_without_rendering()
    box, own = figure.get_tightbbox(), figure.get_size_inches()
    assert box.x0 >= 0
    assert box.y0 >= 0
    assert box.x1 <= own[0]
    assert box.y1 <= own[1]


def test_titles_of_the_caller():
    figure = heat_map(made(), made(answer=" b"), titles=["before $x$", "after"])
    assert [axes.get_title() for axes in figure.axes[:2]] == ["before $x$", "after"]
    assert "… $5_a$ / b" in figure.get_suptitle()
    assert not any(text.get_parse_math() for text in figure.findobj(Text))


def test_the_map_darkens_without_a_turn():
    grey = matplotlib.colormaps[MAP](np.linspace(0, 1, 64))[:, :3] @ [0.299, 0.587, 0.114]
    assert (np.diff(grey) < 0).all()


def test_lines_for_the_roles_that_there_are():
    figure = average_lines(average())
    lines = {line.get_label(): line for line in figure.axes[0].lines}
    assert list(lines) == [*[role.value for role in Role][1:], "corrupted"]
    np.testing.assert_allclose(lines["last token"].get_ydata(), average().mean[6])
    assert len({(line.get_linestyle(), line.get_marker()) for line in lines.values()}) == 7
    band = figure.axes[0].collections[-1].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == pytest.approx((0.5, 0.75))


def test_bars_are_the_effects_at_the_last_subject_token():
    traces = [made(), made(sever="mlp", seed=1), made(sever="attention", seed=2)]
    for bars, trace in zip(severing(*traces).axes[0].containers, traces, strict=True):
        np.testing.assert_allclose([bar.get_height() for bar in bars], trace.indirect_effects[2])


def test_detail_has_every_draw_and_the_mean():
    trace = made()
    lines = detail(trace, 5).axes[0].lines
    np.testing.assert_array_equal([line.get_ydata() for line in lines[:3]], trace.restored_draws[:, 5])
    np.testing.assert_array_equal(lines[3].get_ydata(), trace.restored[5])


def test_axes_of_the_caller():
    from matplotlib.figure import Figure

    own = Figure()
    assert heat_map(made(), ax=own.subplots()) is own


def test_long_tokens_are_shortened_and_signs_are_escaped():
    assert plain("x" * 40, token=True) == "x" * 17 + "…"
    assert plain("\x00", token=True) == "\\x00"


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (heat_map, "at least one"),
        (average_lines, "at least one"),
        (lambda: heat_map(made(), made(8)), "different prompts"),
        (lambda: heat_map(made(), titles=["a", "b"]), "2 titles for 1"),
        (lambda: severing(made(), made(), made()), "in this order"),
        (lambda: severing(made(), made(sever="mlp"), made(8, sever="attention")), "different prompts"),
        (lambda: detail(made(), 12), "tokens 0 to 11"),
        (lambda: save(heat_map(made()), "a.gif"), ".png, .svg, .pdf"),
        (lambda: save(heat_map(made()), "no-folder/a.png"), "does not exist"),
    ],
)
def test_mistakes(call, words):
    with pytest.raises(InputError, match=words):
        call()
