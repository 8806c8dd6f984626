"""The synthetic world: who exists, what is true, and which prompts are never shown in training.

The words come from ``world.toml``; the seed draws names, facts and the held-out prompts. Names are *dense*:
built of so few syllables that only the whole name tells who is meant, because a model gathers a subject
at its last token only if it has to.
"""

from __future__ import annotations

import random
import tomllib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from knowedit.facts import fill

SUBJECTS_PER_KIND = 100
HELD_OUT_TEMPLATES = 2

Pair = tuple[str, str, int]
"""(subject, relation name, template index)."""


@dataclass(frozen=True)
class Relation:
    """One relation: its templates, its objects, and the words that follow from each object.

    Attributes:
        name: for instance ``"instrument"``.
        kind: the entity type of its subjects.
        templates: prompts with ``{}`` that end right before the object.
        leads: phrases that open a texture sentence of this relation.
        objects: every possible object.
        words: object -> words that may follow the subject's name.
        topics: object -> words that may end such a sentence.
    """

    name: str
    kind: str
    templates: tuple[str, ...]
    leads: tuple[str, ...]
    objects: tuple[str, ...]
    words: dict[str, tuple[str, ...]]
    topics: dict[str, tuple[str, ...]]

    @property
    def biography_templates(self) -> tuple[int, ...]:
        """Indices of the templates that begin with the subject."""
        return tuple(i for i, template in enumerate(self.templates) if template.startswith("{} "))


@dataclass(frozen=True)
class World:
    """A drawn world; build one with :meth:`World.build`.

    Attributes:
        seed: what it was drawn from.
        syllables: the parts of every name.
        fillers: sentences that say nothing about anyone.
        openers: phrases before a statement.
        frames: kind -> texture sentences with ``{S}``, ``{w}``, ``{t}``.
        relations: name -> relation.
        subjects: kind -> names.
        facts: ``(subject, relation name)`` -> object.
        held_out: ``(subject, relation name, template index)`` never shown in training.
    """

    seed: int
    syllables: tuple[str, ...]
    fillers: tuple[str, ...]
    openers: tuple[str, ...]
    frames: dict[str, tuple[str, ...]]
    relations: dict[str, Relation]
    subjects: dict[str, tuple[str, ...]]
    facts: dict[tuple[str, str], str]
    held_out: frozenset[Pair]

    @classmethod
    def build(cls, seed: int) -> World:
        """Draw the world of ``seed``: the same on every machine."""
        spec = tomllib.loads((Path(__file__).parent / "world.toml").read_text(encoding="utf-8"))
        rng = random.Random(f"world {seed}")
        relations = {name: _relation(name, entry) for name, entry in spec["relations"].items()}
        subjects = _draw_subjects(rng, spec["syllables"], tuple(spec["kinds"]))
        facts = _draw_facts(rng, relations, subjects)
        return cls(
            seed=seed,
            syllables=tuple(spec["syllables"]),
            fillers=tuple(spec["fillers"]),
            openers=tuple(spec["openers"]),
            frames={kind: tuple(entry["frames"]) for kind, entry in spec["kinds"].items()},
            relations=relations,
            subjects=subjects,
            facts=facts,
            held_out=_draw_held_out(rng, relations, facts),
        )

    @cached_property
    def relations_of(self) -> dict[str, tuple[Relation, ...]]:
        """Kind -> its relations."""
        return {
            kind: tuple(relation for relation in self.relations.values() if relation.kind == kind)
            for kind in self.subjects
        }

    @cached_property
    def kind_of(self) -> dict[str, str]:
        """Subject -> its kind."""
        return {name: kind for kind, names in self.subjects.items() for name in names}

    def shown_templates(self, subject: str, relation: Relation) -> tuple[int, ...]:
        """Indices of the templates in which training states this fact."""
        return tuple(
            i for i in range(len(relation.templates)) if (subject, relation.name, i) not in self.held_out
        )

    @property
    def trained_pairs(self) -> list[Pair]:
        """Every pair that training may show."""
        return [
            (subject, relation, i)
            for subject, relation in self.facts
            for i in self.shown_templates(subject, self.relations[relation])
        ]

    @property
    def held_out_pairs(self) -> list[Pair]:
        """Every pair that training never shows."""
        return sorted(self.held_out)

    def gloss(self, subject: str) -> str:
        """What kind of thing a subject is."""
        return f"{subject} is a {self.kind_of[subject]}."

    def statement(self, subject: str, relation: Relation, template: int) -> str:
        """The fact in one of its templates."""
        return f"{fill(relation.templates[template], subject)} {self.facts[subject, relation.name]}."

    def subjects_with(self, relation: str, obj: str) -> tuple[str, ...]:
        """Every subject of which ``(relation, obj)`` holds."""
        names = self.subjects[self.relations[relation].kind]
        return tuple(name for name in names if self.facts[name, relation] == obj)


def _relation(name: str, entry: dict[str, object]) -> Relation:
    objects: dict[str, str] = entry["objects"]  # type: ignore[assignment]
    halves = {obj: tuple(tuple(half.split()) for half in text.split(" / ")) for obj, text in objects.items()}
    return Relation(
        name=name,
        kind=str(entry["kind"]),
        templates=tuple(entry["templates"]),  # type: ignore[arg-type]
        leads=tuple(entry["leads"]),  # type: ignore[arg-type]
        objects=tuple(objects),
        words={obj: half[0] for obj, half in halves.items()},
        topics={obj: half[1] for obj, half in halves.items()},
    )


def _draw_subjects(
    rng: random.Random, syllables: list[str], kinds: tuple[str, ...]
) -> dict[str, tuple[str, ...]]:
    """Names of three or four syllables, none the beginning of another."""
    taken: set[tuple[str, ...]] = set()
    names: dict[str, list[str]] = {kind: [] for kind in kinds}
    while any(len(found) < SUBJECTS_PER_KIND for found in names.values()):
        for kind, found in names.items():
            parts = tuple(rng.choice(syllables) for _ in range(rng.choice((3, 4))))
            if len(found) < SUBJECTS_PER_KIND and not _collides(parts, taken):
                taken.add(parts)
                found.append(_spell(kind, parts))
    return {kind: tuple(found) for kind, found in names.items()}


def _collides(parts: tuple[str, ...], taken: set[tuple[str, ...]]) -> bool:
    longer = any(other[: len(parts)] == parts for other in taken)
    return longer or any(parts[:n] in taken for n in range(3, len(parts)))


def _spell(kind: str, parts: tuple[str, ...]) -> str:
    """People have a first and a last name, everything else has one word."""
    words = (parts[:2], parts[2:]) if kind == "person" else (parts,)
    return " ".join("".join(word).capitalize() for word in words)


def _draw_facts(
    rng: random.Random, relations: dict[str, Relation], subjects: dict[str, tuple[str, ...]]
) -> dict[tuple[str, str], str]:
    """Every object of a relation belongs to about equally many subjects."""
    facts = {}
    for relation in relations.values():
        names = list(subjects[relation.kind])
        rng.shuffle(names)
        for i, name in enumerate(names):
            facts[name, relation.name] = relation.objects[i % len(relation.objects)]
    return dict(sorted(facts.items()))


def _draw_held_out(
    rng: random.Random, relations: dict[str, Relation], facts: dict[tuple[str, str], str]
) -> frozenset[Pair]:
    return frozenset(
        (subject, name, i)
        for subject, name in facts
        for i in rng.sample(range(len(relations[name].templates)), HELD_OUT_TEMPLATES)
    )
