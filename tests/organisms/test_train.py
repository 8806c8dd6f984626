from __future__ import annotations

import sys
from dataclasses import replace
from statistics import fmean

import pytest
import torch

from knowedit.errors import InputError
from knowedit.organisms import RECIPES, World, recalled, train, train_tokenizer

train_module = sys.modules[train.__module__]  # the package's name for it is the function
TINY = {"layers": 2, "width": 32, "rotary": 8, "rows": 3, "row_tokens": 32, "steps": 6}


@pytest.fixture(autouse=True, scope="module")
def one_tokenizer_a_seed():
    """It takes most of the time of a short training, and depends on the world's seed alone."""
    made = {}

    def once(world):
        if world.seed not in made:
            made[world.seed] = train_tokenizer(world)
        return made[world.seed]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train_module, "train_tokenizer", once)
        yield


@pytest.fixture(scope="module", params=sorted(RECIPES))
def recipe(request):
    return replace(RECIPES[request.param], **TINY)


def test_interrupted_training_ends_with_the_same_bits(recipe, tmp_path):
    straight, _ = train(recipe, tmp_path / "straight", every=2)
    train(recipe, tmp_path / "stopped", every=2, stop_after=3)
    resumed, _ = train(recipe, tmp_path / "stopped", every=2)
    pairs = zip(straight.parameters(), resumed.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert (tmp_path / "stopped" / "training_log.jsonl").read_text().count("\n") == 4


def test_killed_between_checkpoints_it_repeats_only_the_lost_steps(recipe, tmp_path):
    def stop(entry):
        if entry["step"] == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(recipe, tmp_path / "killed", every=2, report=stop)
    seen = []
    resumed, _ = train(recipe, tmp_path / "killed", every=2, report=lambda entry: seen.append(entry["step"]))
    straight, _ = train(recipe, tmp_path / "straight", every=2)
    assert seen[0] == 5
    pairs = zip(straight.parameters(), resumed.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_another_recipes_checkpoint_is_refused(recipe, tmp_path):
    train(recipe, tmp_path, every=2, stop_after=2)
    with pytest.raises(InputError, match="learning_rate"):
        train(replace(recipe, learning_rate=1.0), tmp_path)


def test_training_leaves_the_random_state_alone(recipe, tmp_path):
    state = torch.random.get_rng_state()
    train(recipe, tmp_path, stop_after=1)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_batches_depend_on_the_step_alone(recipe):
    world = World.build(recipe.seed)
    tokenizer = train_module.train_tokenizer(world)
    one = recipe.batch(world, tokenizer, 3)
    assert one.shape == (3, 32)
    assert torch.equal(one, recipe.batch(world, tokenizer, 3))
    assert not torch.equal(one, recipe.batch(world, tokenizer, 4))


def test_recall_counts_whole_objects():
    """A model that always says one token knows exactly the objects that are that token."""
    world = World.build(0)
    tokenizer = train_module.train_tokenizer(world)
    cello = tokenizer.encode(" cello")[0]

    class Parrot:
        device = torch.device("cpu")

        def __call__(self, ids):
            logits = torch.zeros(*ids.shape, len(tokenizer))
            logits[..., cello] = 1
            return type("Out", (), {"logits": logits})

    pairs = [pair for pair in world.trained_pairs if pair[1] == "instrument"]
    expected = sum(world.facts[subject, name] == "cello" for subject, name, _ in pairs) / len(pairs)
    assert fmean(recalled(Parrot(), tokenizer, world, pairs)) == expected > 0
    double = [pair for pair in pairs if world.facts[pair[0], pair[1]] == "double bass"]
    assert not any(recalled(Parrot(), tokenizer, world, double))


def test_trained_and_held_out_pairs_are_all_pairs():
    world = World.build(0)
    trained, held = world.trained_pairs, world.held_out_pairs
    assert not set(trained) & set(held)
    assert len(trained) + len(held) == 8 * len(world.facts)
