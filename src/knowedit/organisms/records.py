"""COUNTERFACT-shaped records about a world: what to change, and the texts that tell what else changed.

The fields are those of the official ``counterfact.json`` (Appendix C of the paper, Figure 22), with the
texts that COUNTERFACT takes from Wikipedia written from the world: reference texts are texture about other
subjects with the new object, essence texts are about the subject and never about the relation changed.
"""

from __future__ import annotations

import random
from typing import Any

from knowedit.facts import fill
from knowedit.organisms.corpus import biography, texture
from knowedit.organisms.world import Relation, World

TRAIN_RELATIONS = 4
TEST_RELATIONS = 2
PARAPHRASES = 2
NEIGHBOURS = 10
REFERENCES = 5
ESSENCES = 3

Record = dict[str, Any]


def _split_subjects(world: World) -> tuple[list[str], list[str]]:
    """Half of the subjects of each kind for training, the other half for testing."""
    rng = random.Random(f"split {world.seed}")
    train: list[str] = []
    test: list[str] = []
    for names in world.subjects.values():
        drawn = rng.sample(names, len(names))
        train += drawn[: len(drawn) // 2]
        test += drawn[len(drawn) // 2 :]
    return train, test


def compile_records(world: World) -> tuple[list[Record], list[Record]]:
    """Training and test records in a seeded random order, without a common subject."""
    train, test = _split_subjects(world)
    rng = random.Random(f"records {world.seed}")
    counts = ((train, TRAIN_RELATIONS), (test, TEST_RELATIONS))
    splits = [[pair for name in names for pair in _pick(world, name, n, rng)] for names, n in counts]
    records: list[list[Record]] = []
    for pairs in splits:
        rng.shuffle(pairs)
        start = sum(map(len, records))
        records.append([_record(world, start + i, *pair, rng) for i, pair in enumerate(pairs)])
    return records[0], records[1]


def _pick(world: World, subject: str, count: int, rng: random.Random) -> list[tuple[str, Relation]]:
    return [(subject, relation) for relation in rng.sample(world.relations_of[world.kind_of[subject]], count)]


def _record(world: World, case_id: int, subject: str, relation: Relation, rng: random.Random) -> Record:
    true = world.facts[subject, relation.name]
    new = rng.choice([obj for obj in relation.objects if obj != true])
    template, *others = rng.sample(relation.templates, 1 + PARAPHRASES)
    return {
        "case_id": case_id,
        "requested_rewrite": {
            "prompt": template,
            "relation_id": relation.name,
            "target_new": {"str": new},
            "target_true": {"str": true},
            "subject": subject,
        },
        "paraphrase_prompts": [fill(other, subject) for other in others],
        "neighborhood_prompts": _neighbours(world, subject, relation, true, rng),
        "generation_prompts": [f"{lead} {subject}" for lead in relation.leads],
        "reference_texts": _references(world, relation, new, rng),
        "essence_texts": [_essence(world, subject, relation, rng) for _ in range(ESSENCES)],
    }


def _neighbours(world: World, subject: str, relation: Relation, true: str, rng: random.Random) -> list[str]:
    """Distinct prompts about other subjects of which the old fact is true and must stay so."""
    names = [name for name in world.subjects_with(relation.name, true) if name != subject]
    prompts = [fill(template, name) for name in names for template in rng.sample(relation.templates, 2)]
    return rng.sample(prompts, min(NEIGHBOURS, len(prompts)))


def _references(world: World, relation: Relation, new: str, rng: random.Random) -> list[str]:
    names = world.subjects_with(relation.name, new)
    return [texture(world, rng.choice(names), relation, rng) for _ in range(REFERENCES)]


def _essence(world: World, subject: str, relation: Relation, rng: random.Random) -> str:
    others = [other for other in world.relations_of[relation.kind] if other.name != relation.name]
    told = biography(world, subject, rng, skip=frozenset({relation.name}))
    return " ".join([world.gloss(subject), told, texture(world, subject, rng.choice(others), rng)])
