from __future__ import annotations

import random
from collections import Counter, defaultdict
from dataclasses import replace

import pytest

from knowedit.organisms import World, compile_records, passage, train_tokenizer
from knowedit.organisms.corpus import biography, texture


@pytest.fixture(scope="module", params=[0, 1])
def world(request) -> World:
    return World.build(request.param)


@pytest.fixture(scope="module")
def names(world):
    return list(world.kind_of)


def test_the_world_is_large_enough(world):
    assert len(world.subjects) >= 4
    assert len(world.relations) >= 16
    assert len(world.kind_of) >= 400
    assert all(len(relation.templates) >= 8 for relation in world.relations.values())
    assert all(
        any(not t.startswith("{}") for t in relation.templates) for relation in world.relations.values()
    )


def test_a_quarter_of_the_pairs_is_held_out_evenly(world):
    assert len(world.held_out) * 4 == sum(len(world.relations[name].templates) for _, name in world.facts)
    per_fact = Counter((subject, name) for subject, name, _ in world.held_out)
    assert set(per_fact.values()) == {2}


def test_the_same_seed_gives_the_same_world():
    one, other = World.build(5), World.build(5)
    assert one == other
    assert one != World.build(6)


def test_every_object_has_many_subjects(world):
    """Neighbourhood prompts need other subjects with the same object."""
    for name, relation in world.relations.items():
        for obj in relation.objects:
            assert len(world.subjects_with(name, obj)) >= 8


@pytest.fixture(scope="module")
def tokenizer(world):
    return train_tokenizer(world)


def fewest_tokens(tokenizer, names) -> int:
    return min(len(tokenizer.tokenize(before + name)) for name in names for before in ("", " "))


def test_names_are_dense_and_the_tokenizer_keeps_them_so(tokenizer, names):
    """Every name has three tokens or more, and no token identifies a subject."""
    assert fewest_tokens(tokenizer, names) >= 3
    for before in ("", " "):
        carriers = defaultdict(set)
        for name in names:
            for part in tokenizer.tokenize(before + name):
                carriers[part].add(name)
        assert min(map(len, carriers.values())) >= 2


def test_a_tokenizer_trained_on_whole_names_would_undo_them(world, names, monkeypatch):
    """The test above can fail: leave the names in the text."""
    text = "\n".join(names * 20)
    monkeypatch.setattr("knowedit.organisms.tokenizer.passage", lambda *_: text)
    monkeypatch.setattr("knowedit.organisms.tokenizer.PASSAGES", 10)
    monkeypatch.setattr("knowedit.organisms.tokenizer.SYLLABLE_REPEATS", 1)
    assert fewest_tokens(train_tokenizer(replace(world, subjects={})), names) < 3


def test_no_template_stands_inside_another():
    """Else a held-out prompt could be shown as the end of another one."""
    relations = World.build(0).relations.values()
    templates = [template for relation in relations for template in relation.templates]
    assert len(set(templates)) == len(templates)
    assert not [(a, b) for a in templates for b in templates if a != b and a in b]


def test_objects_have_one_or_two_tokens_behind_a_space(world, tokenizer):
    counts = Counter(
        len(tokenizer.tokenize(" " + obj))
        for relation in world.relations.values()
        for obj in relation.objects
    )
    assert set(counts) == {1, 2}
    firsts = [
        [tokenizer.tokenize(" " + obj)[0] for obj in relation.objects]
        for relation in world.relations.values()
    ]
    assert all(len(set(first)) == len(first) for first in firsts)


def test_tokenizer_round_trip(world, tokenizer):
    text = passage(world, random.Random(0), 200)
    assert tokenizer.decode(tokenizer.encode(text)) == text
    odd = "Žofie plays {} the \U0001f3bb"
    assert tokenizer.decode(tokenizer.encode(odd)) == odd


def test_held_out_pairs_never_stand_in_the_corpus(world):
    rng = random.Random(1)
    text = "\n".join(passage(world, rng, 400) for _ in range(300))
    hidden = [world.statement(s, world.relations[name], i) for s, name, i in world.held_out]
    assert not [sentence for sentence in hidden if sentence in text]
    shown = [
        world.statement(s, world.relations[name], i)
        for s, name in world.facts
        for i in world.shown_templates(s, world.relations[name])
    ]
    assert sum(sentence in text for sentence in shown) > 500


def test_texture_never_states_the_attribute(world):
    rng = random.Random(2)
    for (subject, name), obj in world.facts.items():
        relation = world.relations[name]
        text = texture(world, subject, relation, rng, lead=False)
        assert text.startswith(subject + " ")
        assert f" {obj} " not in text
        assert text.removeprefix(subject).split()[0] in relation.words[obj]


def test_biographies_can_leave_a_relation_out(world):
    rng = random.Random(3)
    for (subject, name), obj in list(world.facts.items())[::7]:
        text = biography(world, subject, rng, skip=frozenset({name}))
        tails = [t.removeprefix("{} ") for t in world.relations[name].templates if t.startswith("{} ")]
        assert not any(f"{tail} {obj}" in text for tail in tails)


def test_records_hold_what_counterfact_holds(world):
    train, test = compile_records(world)
    subjects = [{r["requested_rewrite"]["subject"] for r in part} for part in (train, test)]
    assert not subjects[0] & subjects[1]
    assert len(test) >= 200
    assert len({r["case_id"] for r in train + test}) == len(train) + len(test)
    for record in train + test:
        check_record(world, record)


def check_record(world, record):
    request = record["requested_rewrite"]
    subject, name = request["subject"], request["relation_id"]
    new, true = request["target_new"]["str"], request["target_true"]["str"]
    assert world.facts[subject, name] == true != new
    assert new in world.relations[name].objects
    assert len(set(record["paraphrase_prompts"])) == 2
    assert all(subject in prompt for prompt in record["paraphrase_prompts"] + record["generation_prompts"])
    assert request["prompt"].replace("{}", subject) not in record["paraphrase_prompts"]
    assert len(set(record["neighborhood_prompts"])) == 10
    assert not any(subject in prompt for prompt in record["neighborhood_prompts"])
    others = world.subjects_with(name, true)
    assert all(any(other in prompt for other in others) for prompt in record["neighborhood_prompts"])
    assert all(any(o in text for o in world.subjects_with(name, new)) for text in record["reference_texts"])
    assert all(text.startswith(subject) for text in record["essence_texts"])
