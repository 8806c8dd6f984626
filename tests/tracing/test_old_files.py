"""What version 0.1.0 wrote is read, with the values that it wrote."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from knowedit.tracing import (
    AverageTrace,
    FixedNoise,
    KnownFact,
    RelativeNoise,
    Role,
    Substitution,
    Trace,
    TraceRun,
    TraceSettings,
    Window,
    causal_trace,
)

OLD = Path(__file__).parents[1] / "data" / "v0.1.0"
DIGEST = "d1a0747cefba227a8b45f6b49b3f9be647841adeec0de772cfc331c8d798a086"


def test_a_trace_against_noise():
    found, stored = Trace.load(OLD / "trace.safetensors"), load_file(OLD / "trace.safetensors")
    assert np.array_equal(found.restored_draws.numpy(), stored["scores"])
    assert np.array_equal(found.corrupted_draws.numpy(), stored["corrupted_scores"])
    assert found.noise is not None
    assert np.array_equal(found.noise.numpy(), stored["noise"])
    assert found.settings == TraceSettings(corruption=RelativeNoise(3.0), draws=2)
    assert (found.text, found.answer, found.predicted) == ("Zoma Sel plays the", " trumpet", True)
    assert (found.subject, found.answer_ids) == ((0, 3), (1155,))
    assert found.tokens == ("Zo", "ma", " Sel", " plays", " the")
    assert found.roles == (
        Role.FIRST_SUBJECT,
        Role.MIDDLE_SUBJECT,
        Role.LAST_SUBJECT,
        Role.FIRST_AFTER,
        Role.LAST,
    )
    assert found.clean == 0.9991118458511737
    made = found.provenance
    assert (made.model, made.digest, made.dtype, made.seed) == ("organism-gpt2", DIGEST, "float32", 0)


def test_a_substitution_of_windows_with_attention_severed():
    found, stored = Trace.load(OLD / "trace-sub.safetensors"), load_file(OLD / "trace-sub.safetensors")
    assert np.array_equal(found.restored_draws.numpy(), stored["scores"])
    assert found.noise is None
    expected = TraceSettings("mlp", Window(1, 1), "attention", Substitution("Zoma Sel"), 1)
    assert found.settings == expected
    assert found.provenance.seed is None


def test_the_old_trace_is_made_again():
    from knowedit.models import load

    old = Trace.load(OLD / "trace.safetensors")
    assert old.noise is not None
    settings = TraceSettings(corruption=FixedNoise(old.noise))
    new = causal_trace(load("organism-gpt2"), "{} plays the", "Zoma Sel", settings=settings)
    torch.testing.assert_close(new.restored_draws, old.restored_draws, rtol=0, atol=1e-6)
    assert new.provenance.digest == DIGEST


def test_an_average():
    path = OLD / "averages" / "average.safetensors"
    found, stored = AverageTrace.load(path), load_file(path)
    for name in ("mean", "low", "high", "counts", "baselines"):
        assert np.array_equal(getattr(found, name), stored[name], equal_nan=name in ("low", "high"))
    assert found.settings == TraceSettings(corruption=RelativeNoise(3.0), draws=2)
    assert (found.model, found.digest, found.n_layers) == ("organism-gpt2", DIGEST, 12)
    assert (found.n_facts, found.n_predicted, found.clean.mean) == (3, 3, stored["clean"][0])


def test_a_folder(tiny_gpt2):
    run = TraceRun(OLD / "averages", tiny_gpt2, [KnownFact("Paris is", "Paris", "x")])
    first, *_ = run.summaries
    assert len(run.summaries) == 3
    assert run.failures == {}
    assert first is not None
    assert first.clean == 0.9907940078128511
    assert first.restored[Role.LAST_SUBJECT][0] == 0.09725382868740944
    average = AverageTrace.load(OLD / "averages" / "average.safetensors")
    found = [one.restored[Role.LAST] for one in run.summaries if one is not None]
    assert np.mean(found, axis=0) == pytest.approx(average.mean[average.row(Role.LAST)])
