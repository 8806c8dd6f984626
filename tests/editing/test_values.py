from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from knowedit.editing import ROME, optimise_value
from knowedit.errors import InputError
from knowedit.facts import Fact
from tests.editing import oracles
from tests.editing.conftest import FACT

TWO_TOKENS = replace(FACT, target_new="Space Needle")
CASES = [
    (FACT, ROME.paper(layer=1)),
    (FACT, ROME.paper(layer=3)),
    (FACT, replace(ROME.paper(layer=0, kl="sum"), kl_factor=0.5)),
    (TWO_TOKENS, ROME.paper(layer=1)),
    (replace(FACT, prompt="In Paris, {} plays the"), ROME.paper(layer=2)),
]


@pytest.mark.parametrize(("fact", "rome"), CASES)
def test_replayed_search_equals_whole_forwards(family, fact, rome):
    rome = replace(rome, max_steps=6)
    found = optimise_value(family, rome.layer, fact, rome)
    expected, losses = oracles.value(family, rome.layer, fact, rome)
    assert list(found.losses) == pytest.approx(losses, rel=1e-3, abs=1e-4)
    torch.testing.assert_close(found.vector, expected, atol=2e-3, rtol=1e-3)
    assert found.steps == len(losses) - 1


def test_search_finds_the_object_and_stops_early(family):
    settings = replace(ROME.paper(), max_steps=200, kl_factor=0.0, stop_loss=1.0)
    # In a random model only the token that predicts has a say: let the prompt end with the subject.
    found = optimise_value(family, 3, replace(FACT, prompt="In Paris, {}", target_new="is"), settings)
    assert found.losses[-1] <= settings.stop_loss
    assert found.steps < 200
    assert found.losses[-2] > settings.stop_loss
    assert found.probability == pytest.approx(math.exp(-found.losses[-1]), rel=1e-5)


def test_at_most_max_steps_updates(family):
    settings = replace(ROME.paper(), max_steps=3, stop_loss=-1.0)
    found = optimise_value(family, 1, FACT, settings)
    assert found.steps == 3
    assert len(found.losses) == 4


def test_literal_divergence_holds_the_value_back(family):
    """λ = 1e2 with the KL summed keeps P[x | p'] at the cost of the new object."""
    literal = optimise_value(family, 1, FACT, ROME.paper(kl="sum"))
    averaged = optimise_value(family, 1, FACT, ROME.paper())
    assert averaged.probability > literal.probability


def test_model_is_left_as_it_was(family):
    flags = [p.requires_grad for p in family.model.parameters()]
    optimise_value(family, 1, FACT, ROME.paper())
    assert [p.requires_grad for p in family.model.parameters()] == flags
    assert all(p.grad is None for p in family.model.parameters())


def test_frozen_models_can_be_edited(fresh_lm):
    lm = fresh_lm("gpt2")
    lm.model.requires_grad_(False)
    assert optimise_value(lm, 1, FACT, ROME.paper()).steps > 0


def test_empty_target_is_refused():
    with pytest.raises(InputError, match="empty target_new"):
        Fact(subject="Miles Davis", prompt="{} plays the", target_new=" ")
