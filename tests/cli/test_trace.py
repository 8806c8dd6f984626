"""`knowedit trace` on a bundled model: numbers, files, pictures, and one line for each mistake."""

from __future__ import annotations

import json

import pytest
import torch

from knowedit.cli.choices import trace_settings
from knowedit.cli.heat import heat_lines
from knowedit.errors import InputError
from knowedit.models import load
from knowedit.tracing import GaussianNoise, Trace, TraceSettings, Window, causal_trace

ARGUMENTS = ("trace", "{} plays the", "--subject", "Zoma Sel", "--draws", "2")


def test_the_numbers_are_those_of_causal_trace(run):
    found = json.loads(run(*ARGUMENTS, "--noise", "0.2", "--seed", "5", "--json").stdout)["traces"][0]
    settings = TraceSettings(corruption=GaussianNoise(0.2), draws=2)
    own = causal_trace(load("organism-gpt2"), "{} plays the", "Zoma Sel", settings=settings, seed=5)
    torch.testing.assert_close(torch.tensor(found["restored"], dtype=torch.float64), own.restored)
    assert found["total_effect"] == pytest.approx(own.total_effect)
    assert found["digest"] == own.provenance.digest


def test_all_parts_write_data_and_a_picture(run, tmp_path):
    text = run(*ARGUMENTS, "--part", "all", "--out", "t.safetensors", "--figure", "t.svg").stdout
    traces = [Trace.load(tmp_path / f"t-{part}.safetensors") for part in ("hidden", "mlp", "attention")]
    assert [trace.settings.window for trace in traces] == [Window(), Window(1, 1), Window(1, 1)]
    assert all(torch.equal(trace.noise, traces[0].noise) for trace in traces)
    assert (tmp_path / "t.svg").read_bytes().startswith(b"<?xml")
    assert max(map(len, text.splitlines())) <= 80
    for words in ("clean", "corrupted", "total effect", "␣Sel*", "windows of 3 layers", "written to t.svg"):
        assert words in text


def test_an_edited_model_is_traced(run):
    fact = ("--subject", "Zoma Sel", "--prompt", "{} plays the", "--target-new", "violin")
    run("edit", *fact, "--out", "e.safetensors")
    plain, edited = (
        json.loads(run(*ARGUMENTS, *more, "--json").stdout)["traces"][0]
        for more in ((), ("--edit", "e.safetensors"))
    )
    assert edited["digest"] != plain["digest"]
    assert edited["answer"].strip() == "violin"


def test_an_answer_that_is_not_predicted_is_a_warning_and_is_traced(run):
    result = run(*ARGUMENTS, "--answer", "violin")
    assert "does not predict" in " ".join(result.stderr.split())
    assert "violin" in result.stdout


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("--noise", "0"), "ν is 0"),
        (("--noise", "-1"), "ν is -1"),
        (("--relative-noise", "0"), "factor"),
        (("--noise", "1", "--relative-noise", "3"), "only one of"),
        (
            ("--substitute", "A much longer name than that"),
            "substitute a subject with the same number of tokens",
        ),
        (("--window", "13"), "larger than the model"),
        (("--window", "7,7"), "larger than the model"),
        (("--window", "wide"), "paper, released, depth"),
        (("--window", "-1,1"), "paper, released, depth"),
        (("--window", "0"), "give at least 1"),
        (("--out", "t.png"), "expected .safetensors"),
        (("--figure", "t.gif"), "one of .png, .svg, .pdf"),
        (("--figure", "no/t.png"), "does not exist"),
        (("--figure", "there.png"), "exists already"),
        (("--edit", "none.safetensors"), "no file"),
    ],
    ids=str,
)
def test_mistakes_are_one_line_and_write_nothing(run, tmp_path, change, words):
    (tmp_path / "there.png").write_bytes(b"")
    arguments = [a for a in ARGUMENTS if "--substitute" not in change or a not in ("--draws", "2")]
    data = () if "--out" in change else ("--out", "x.safetensors")
    result = run(*arguments, *data, *change, code=2)
    assert result.stderr.startswith("error:")
    assert words in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["there.png"]


def test_a_subject_that_is_not_there(run):
    result = run("trace", "Nobody plays the", "--subject", "Zoma Sel", code=2)
    assert "Zoma Sel" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def window_of(text: str) -> Window:
    """What ``--window text`` is in a model of 12 layers."""
    return trace_settings(text, None, None, noise=None, relative_noise=None)("mlp", 12, "1").window


@pytest.mark.parametrize(
    ("text", "window"),
    [
        ("paper", Window(4, 5)),
        ("released", Window(5, 4)),
        ("depth", Window(1, 1)),
        ("1", Window()),
        ("2,3", Window(2, 3)),
    ],
)
def test_windows(text, window):
    assert window_of(text) == window


@pytest.mark.parametrize("text", ["", "1,2,3", "a,b", "²", "1.5"])
def test_unknown_windows(text):
    with pytest.raises(InputError):
        window_of(text)


@pytest.mark.parametrize(("layers", "width"), [(12, 80), (28, 80), (48, 80), (96, 80), (12, 40)])
def test_the_table_fits_the_terminal(layers, width, tiny_trace):
    lines = [line.plain for line in heat_lines(tiny_trace(layers), width)]
    best = lines.index("best layer at the best tokens:")
    assert max(len(line) for line in lines[:best]) <= width
    assert best == 3 + 4


@pytest.fixture
def tiny_trace():
    from tests.tracing.made import made

    return lambda layers: made(4, layers)
