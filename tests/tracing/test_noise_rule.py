"""The noise that leaves the paper's share of the clean probability."""

from __future__ import annotations

import math

import pytest
import torch

from knowedit.errors import InputError
from knowedit.models import LanguageModel, locate
from knowedit.tracing import RelativeNoise, TraceSettings, causal_trace
from knowedit.tracing.corruptions.rule import PAPER_SHARE, noise_that_leaves

FACTS = (
    ("{} is in the city of", "The Space Needle"),
    ("In town, {} plays the", "Miles Davis"),
    ("{} was born in", "Marie Curie"),
)


@pytest.fixture(scope="module")
def sharp(fresh_lm) -> LanguageModel:
    """Logits that are large enough for noise to take something away."""
    lm = fresh_lm("llama")
    lm.model.lm_head.weight.data *= 3
    return lm


def prompts_of(lm: LanguageModel) -> list:
    return [locate(lm, template, subject) for template, subject in FACTS]


@pytest.mark.parametrize("share", [0.6, PAPER_SHARE])
def test_the_traces_of_these_facts_show_the_share(sharp: LanguageModel, share: float):
    """One fact at a time, so that a trace with the same seed has the same draws."""
    for prompt in prompts_of(sharp):
        found = noise_that_leaves(sharp, [prompt], share, draws=4, seed=3)
        trace = causal_trace(sharp, prompt, settings=TraceSettings(corruption=found, draws=4), seed=3)
        assert trace.corrupted / trace.clean == pytest.approx(share, abs=0.02)


def test_the_share_is_of_the_means_over_the_facts(sharp: LanguageModel):
    prompts = prompts_of(sharp)
    found = noise_that_leaves(sharp, prompts, 0.5, draws=2, seed=0)
    settings, draw = TraceSettings(corruption=found, draws=2), torch.Generator().manual_seed(0)
    traces = [causal_trace(sharp, prompt, settings=settings, generator=draw) for prompt in prompts]
    kept = sum(trace.corrupted for trace in traces) / sum(trace.clean for trace in traces)
    assert kept == pytest.approx(0.5, abs=0.02)
    assert found == noise_that_leaves(sharp, prompts, 0.5, draws=2, seed=0)
    assert noise_that_leaves(sharp, prompts, 0.8, draws=2, seed=0).factor < found.factor
    assert isinstance(found, RelativeNoise)


def test_the_papers_share():
    assert math.isclose(PAPER_SHARE, 0.3137, abs_tol=1e-4)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"share": 1.0}, "a share of 1.0"),
        ({"share": 0.0}, "a share of 0.0"),
        ({"draws": 0}, "0 draws"),
        ({"share": 1e-9}, "give facts that the model knows"),
    ],
)
def test_what_cannot_be_found_is_one_line(sharp: LanguageModel, options, words):
    with pytest.raises(InputError, match=words) as error:
        noise_that_leaves(sharp, prompts_of(sharp), **{"draws": 1, "seed": 0, **options})
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="0 prompts"):
        noise_that_leaves(sharp, [], seed=0)
    with pytest.raises(InputError, match="seed"):
        noise_that_leaves(sharp, prompts_of(sharp))
