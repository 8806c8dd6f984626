"""Averages of traces against loops written out, their file, and what may not be averaged."""

from __future__ import annotations

import json
import math
from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from knowedit.errors import FileFormatError, InputError, NumericalError
from knowedit.tensorfile import Kind, read_tensors, write_tensors
from knowedit.tracing import (
    AverageTrace,
    FactSummary,
    FixedNoise,
    GaussianNoise,
    KnownFact,
    Role,
    Substitution,
    TraceRun,
    TraceSettings,
    UnpredictedAnswer,
    Window,
    average,
    causal_trace,
)
from knowedit.tracing.averages import INTERVALS, KIND

FACTS = [
    KnownFact("In town, Marie Curie is in the city of", "Marie Curie", "Paris"),
    KnownFact("Paris is the capital of", "Paris", "Poland"),
    KnownFact("Miles Davis plays the", "Miles Davis", "piano"),
    KnownFact("The mother tongue of Edmund Neupert", "Edmund Neupert", "French"),
]
T_OF_3 = 3.182446305284263
"""The 97.5 % point of Student's distribution with three degrees of freedom, from a table."""
pytestmark = pytest.mark.filterwarnings("ignore::knowedit.tracing.UnpredictedAnswer")


@pytest.fixture(scope="module")
def traces(tiny_gpt2):
    settings = TraceSettings(draws=3, corruption=GaussianNoise(0.5))
    with pytest.warns(UnpredictedAnswer):
        return [fact.trace(tiny_gpt2, settings) for fact in FACTS]


@pytest.fixture(scope="module")
def averaged(traces) -> AverageTrace:
    return average(traces)


def slow_mean(traces, role, layer):
    """The mean over the facts that have the role, of the mean over its tokens, of the mean over the draws."""
    by_fact, baselines = [], []
    for trace in traces:
        by_token = []
        for token, own in enumerate(trace.roles):
            if own == role:
                scores = [
                    float(trace.restored_draws[draw, token, layer]) for draw in range(trace.settings.draws)
                ]
                by_token.append(sum(scores) / len(scores))
        if by_token:
            by_fact.append(sum(by_token) / len(by_token))
            baselines.append(sum(map(float, trace.corrupted_draws)) / trace.settings.draws)
    return by_fact, baselines


def test_every_cell_is_the_loop_written_out(traces, averaged):
    scale = float(averaged.mean.max())
    for role in Role:
        for layer in range(4):
            by_fact, baselines = slow_mean(traces, role, layer)
            if not by_fact:
                assert role not in averaged.roles
                continue
            row = averaged.roles.index(role)
            mean = sum(by_fact) / len(by_fact)
            assert averaged.counts[row] == len(by_fact)
            assert averaged.mean[row, layer] == pytest.approx(mean, abs=1e-9 * scale)
            indirect = mean - sum(baselines) / len(baselines)
            assert averaged.indirect_effects[row, layer] == pytest.approx(indirect, abs=1e-9 * scale)


def test_the_interval_is_students_over_facts_within_0_and_1(traces, averaged):
    for layer in range(4):
        by_fact, _ = slow_mean(traces, Role.LAST_SUBJECT, layer)
        mean = sum(by_fact) / 4
        deviation = math.sqrt(sum((x - mean) ** 2 for x in by_fact) / 3)
        half = T_OF_3 * deviation / 2
        found = averaged.at(Role.LAST_SUBJECT, layer)
        assert (found.n, found.mean) == (4, pytest.approx(mean))
        assert found.high - found.mean == pytest.approx(half, rel=1e-6)
        assert found.low == pytest.approx(max(0.0, mean - half), rel=1e-6)


def test_scores_and_maxima_are_those_of_each_fact(traces, averaged):
    last = [max(float(x) for x in trace.restored[trace.subject[1] - 1]) for trace in traces]
    anywhere = [max(float(x) for row in trace.restored for x in row) for trace in traces]
    expected = {
        "clean": [trace.clean for trace in traces],
        "corrupted": [trace.corrupted for trace in traces],
        "total_effect": [trace.total_effect for trace in traces],
        "best_last_subject": last,
        "best_anywhere": anywhere,
    }
    for name, values in expected.items():
        found = getattr(averaged, name)
        assert found.mean == pytest.approx(sum(values) / 4)
        half = T_OF_3 * np.std(values, ddof=1) / 2
        least = -1.0 if name == "total_effect" else 0.0
        ends = max(least, found.mean - half), min(1.0, found.mean + half)
        assert (found.low, found.high) == pytest.approx(ends, rel=1e-6)
    assert averaged.best_last_subject.mean >= averaged.mean[averaged.row(Role.LAST_SUBJECT)].max()
    assert (averaged.n_facts, averaged.n_layers) == (4, 4)
    assert averaged.n_predicted == sum(trace.predicted for trace in traces)


def test_roles_are_those_that_occur_in_the_order_of_a_text(averaged, traces):
    assert averaged.roles == tuple(role for role in Role if any(role in t.roles for t in traces))
    assert Role.BEFORE in averaged.roles
    with pytest.raises(InputError, match="no fact has a token with the role"):
        average(traces[1:2]).row(Role.BEFORE)


def test_the_peak_is_the_largest_mean(averaged):
    for role in averaged.roles:
        layer, found = averaged.peak(role)
        assert found.mean == max(averaged.at(role, other).mean for other in range(4))
        assert found == averaged.at(role, layer)
    with pytest.raises(InputError, match="layers 0 to 3"):
        averaged.at(Role.LAST, 4)


def test_one_fact_has_no_interval(traces):
    one = average(traces[:1])
    assert np.isnan(one.low).all()
    assert np.isnan(one.high).all()
    assert math.isnan(one.clean.low)
    assert one.clean.mean == traces[0].clean


def test_an_iterator_is_read_one_trace_at_a_time(traces, averaged):
    assert np.array_equal(average(iter(traces)).mean, averaged.mean)


def test_what_is_loaded_is_what_was_saved(averaged, tmp_path):
    averaged.save(tmp_path / "a")
    found = AverageTrace.load(tmp_path / "a")
    for field in fields(AverageTrace):
        own, other = getattr(averaged, field.name), getattr(found, field.name)
        assert type(own) is type(other)
        assert np.array_equal(own, other) if isinstance(own, np.ndarray) else own == other
    found.save(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("cut", [0, 7, 300, -1])
def test_truncated_files(averaged, tmp_path, cut):
    averaged.save(tmp_path / "a")
    (tmp_path / "a").write_bytes((tmp_path / "a").read_bytes()[:cut])
    with pytest.raises(FileFormatError):
        AverageTrace.load(tmp_path / "a")


@pytest.mark.parametrize(
    "change",
    [{"roles": ["hero"]}, {"roles": []}, {"setting": {}}, {"n_facts": "many"}, {"setting": None}],
    ids=str,
)
def test_files_with_wrong_entries(averaged, tmp_path, change):
    averaged.save(tmp_path / "a")
    content = read_tensors(tmp_path / "a", KIND)
    entries = json.loads(content.metadata["average"]) | change
    write_tensors(tmp_path / "a", KIND, content.tensors, {"average": json.dumps(entries)}, force=True)
    with pytest.raises(FileFormatError, match="make it again"):
        AverageTrace.load(tmp_path / "a")
    write_tensors(tmp_path / "a", KIND, {}, {}, force=True)
    with pytest.raises(FileFormatError, match="make it again"):
        AverageTrace.load(tmp_path / "a")
    write_tensors(tmp_path / "a", Kind("trace", "1", "trace", "Trace.save"), {}, {}, force=True)
    with pytest.raises(FileFormatError, match="not a saved average"):
        AverageTrace.load(tmp_path / "a")


def test_no_traces():
    with pytest.raises(InputError, match="no traces to average"):
        average([])


@pytest.mark.parametrize(
    "change",
    [{"part": "mlp"}, {"window": Window(1, 1)}, {"sever": "mlp"}, {"corruption": GaussianNoise(2.0)}],
    ids=str,
)
def test_traces_of_other_settings_are_refused(traces, change):
    with pytest.raises(InputError, match=f"{next(iter(change))} is .*average like with like"):
        average([traces[0], replace(traces[1], settings=replace(traces[1].settings, **change))])


def test_traces_of_other_models_are_refused(traces):
    other = replace(traces[1], provenance=replace(traces[1].provenance, digest="0"))
    with pytest.raises(InputError, match="digest is 0"):
        average([traces[0], other])


def test_each_fact_may_have_its_own_substitution(tiny_gpt2):
    texts = (("Paris", "Marie"), ("Marie", "Paris"))
    traces = [
        KnownFact(f"In town, {subject} is in the city of", subject, "Warsaw").trace(
            tiny_gpt2, TraceSettings(corruption=Substitution(other))
        )
        for subject, other in texts
    ]
    found = average(traces)
    assert found.settings.corruption.settings() == {"kind": "substitution"}
    with pytest.raises(InputError, match="do not suffice to repeat"):
        FACTS[0].trace(tiny_gpt2, found.settings)


def test_a_score_that_is_no_number_is_refused(traces):
    restored = traces[0].restored_draws.clone()
    restored[0, 1, 2] = torch.nan
    with pytest.raises(NumericalError, match="NaN or infinite"):
        average([replace(traces[0], restored_draws=restored)])


def test_a_summary_comes_back_from_json(traces):
    own = FactSummary.of(traces[0])
    found = FactSummary.from_json(json.loads(json.dumps(own.to_json())))
    assert found.restored.keys() == own.restored.keys()
    assert all(np.array_equal(found.restored[role], own.restored[role]) for role in own.restored)
    for name in (*INTERVALS, "predicted"):
        assert getattr(found, name) == getattr(own, name)


@pytest.mark.parametrize(
    "settings",
    [TraceSettings("mlp", Window.paper(3), "attention", Substitution("Paris"), 1), TraceSettings()],
    ids=["all", "usual"],
)
def test_settings_come_back_from_json(settings):
    assert TraceSettings.from_json(json.loads(json.dumps(settings.to_json()))) == settings


@pytest.mark.parametrize(
    "change",
    [
        {"corruption": {}},
        {"corruption": {"kind": "gaussian", "std": -1}},
        {"more": 1},
        {"window": None},
        {"part": "x"},
    ],
)
def test_settings_that_are_none(change):
    with pytest.raises(InputError, match=r"(settings|corruption) of a trace"):
        TraceSettings.from_json(TraceSettings().to_json() | change)


@pytest.mark.parametrize("settings", [{"kind": "fixed"}, {"kind": "own", "more": 3}], ids=str)
def test_a_corruption_that_cannot_be_made_from_its_settings_keeps_them(settings):
    entries = TraceSettings().to_json() | {"corruption": settings}
    found = TraceSettings.from_json(entries)
    assert found.to_json() == entries
    assert found == TraceSettings.from_json(entries)


@pytest.mark.parametrize(
    ("change", "advice"),
    [
        ({"part": "heads"}, "use one of 'hidden'"),
        ({"sever": "hidden"}, "use one of None, 'mlp'"),
        ({"draws": 0}, "at least 1"),
    ],
)
def test_settings_that_no_trace_could_use(change, advice):
    with pytest.raises(InputError, match=advice):
        TraceSettings(**change)


@pytest.mark.parametrize(
    ("change", "advice"),
    [
        ({"settings": TraceSettings(draws=2, corruption=Substitution("Paris"))}, "from 1 to 1"),
        ({"seed": -1}, "from 0"),
        ({"memory": 0}, "at least 1"),
        ({"settings": TraceSettings(corruption=FixedNoise(torch.zeros(1, 1, 1)))}, "belongs to one subject"),
    ],
)
def test_what_no_run_could_use(tiny_gpt2, tmp_path, change, advice):
    with pytest.raises(InputError, match=advice):
        TraceRun(tmp_path, tiny_gpt2, FACTS, **change)


def test_the_noise_belongs_to_the_fact_and_the_seed(tiny_gpt2):
    two = TraceSettings(draws=2)
    first = FACTS[2].trace(tiny_gpt2, two)
    assert torch.equal(FACTS[2].trace(tiny_gpt2, two).noise, first.noise)
    assert not torch.equal(FACTS[2].trace(tiny_gpt2, two, seed=1).noise, first.noise)
    other = replace(FACTS[2], prompt="Miles Davis was born in").trace(tiny_gpt2, two)
    assert not torch.equal(other.noise, first.noise)


def test_a_fact_is_traced_as_causal_trace_does(tiny_gpt2):
    settings = TraceSettings("mlp", Window(1, 0), "attention", GaussianNoise(0.7), 2)
    found = FACTS[2].trace(tiny_gpt2, settings, seed=3, digest="known")
    expected = causal_trace(
        tiny_gpt2,
        "{} plays the",
        "Miles Davis",
        answer="piano",
        settings=settings,
        seed=FACTS[2].noise_seed(3),
        digest="known",
    )
    assert torch.equal(found.restored_draws, expected.restored_draws)
    for name in ("settings", "answer", "text", "provenance"):
        assert getattr(found, name) == getattr(expected, name)
    assert found.settings == average([found]).settings == settings


def test_an_average_is_told_in_one_line(averaged, tiny_gpt2):
    text = repr(averaged)
    assert len(text) < 200
    for words in ("4 facts", tiny_gpt2.name, "one state", f"corrupted {averaged.corrupted.mean:.3f}"):
        assert words in text
    assert averaged._repr_html_().count("<td ") == averaged.mean.size


def test_a_data_frame_has_a_row_for_each_role_and_layer(averaged):
    pytest.importorskip("pandas", reason="pandas is no requirement")
    frame = averaged.to_pandas()
    assert len(frame) == averaged.mean.size
    row = frame[(frame.role == Role.LAST.value) & (frame.layer == 2)].iloc[0]
    expected = averaged.at(Role.LAST, 2)
    assert (row.restored, row.low, row.high, row.facts) == (
        expected.mean,
        expected.low,
        expected.high,
        expected.n,
    )
    assert row.indirect_effect == averaged.indirect_effects[averaged.row(Role.LAST), 2]
