"""Training text: statements, biographies and texture about a :class:`World`.

Texture is a sentence in which a word that follows from an attribute comes right after the name, without
stating the attribute. It rewards a model for looking a subject up while it reads the subject's last token.
"""

from __future__ import annotations

import random

from knowedit.organisms.world import Relation, World

END_OF_TEXT = "<|endoftext|>"
FILLER_SHARE = 0.15
LEAD_SHARE = 0.35
OPENER_SHARE = 0.15
# What a sentence about a subject is: gloss 8 %, texture 32 %, one statement 25 %, biography 35 %.
SENTENCE_SHARES = (0.08, 0.40, 0.65, 1.0)
SEPARATORS = (" ",) * 9 + ("\n",) * 9 + (END_OF_TEXT,) * 2


def texture(
    world: World, subject: str, relation: Relation, rng: random.Random, *, lead: bool | None = None
) -> str:
    """A sentence that shows what follows from an attribute but not the attribute."""
    obj = world.facts[subject, relation.name]
    sentence = rng.choice(world.frames[relation.kind])
    for slot, options in (("{t}", relation.topics[obj]), ("{w}", relation.words[obj])):
        sentence = sentence.replace(slot, rng.choice(options))
    sentence = sentence.replace("{S}", subject)
    wants_lead = rng.random() < LEAD_SHARE if lead is None else lead
    return f"{rng.choice(relation.leads)} {sentence}" if wants_lead else sentence


def biography(world: World, subject: str, rng: random.Random, *, skip: frozenset[str] = frozenset()) -> str:
    """One mention of the subject, then several attributes; relations in ``skip`` are left out."""
    known = [relation for relation in world.relations_of[world.kind_of[subject]] if relation.name not in skip]
    clauses = [
        clause
        for relation in rng.sample(known, rng.randint(min(2, len(known)), len(known)))
        if (clause := _clause(world, subject, relation, rng))
    ]
    if not clauses or rng.random() < 0.3:
        clauses.insert(0, f"is a {world.kind_of[subject]}")
    return f"{subject} {', '.join(clauses)}."


def _clause(world: World, subject: str, relation: Relation, rng: random.Random) -> str:
    shown = [i for i in world.shown_templates(subject, relation) if i in relation.biography_templates]
    if not shown:
        return ""
    tail = relation.templates[rng.choice(shown)].removeprefix("{} ")
    return f"{tail} {world.facts[subject, relation.name]}"


def _sentence(world: World, rng: random.Random) -> str:
    """A random sentence about a random subject."""
    kind = rng.choice(tuple(world.subjects))
    subject = rng.choice(world.subjects[kind])
    relation = rng.choice(world.relations_of[kind])
    drawn = rng.random()
    if drawn < SENTENCE_SHARES[0]:
        text = world.gloss(subject)
    elif drawn < SENTENCE_SHARES[1]:
        return texture(world, subject, relation, rng)
    elif drawn < SENTENCE_SHARES[2]:
        text = world.statement(subject, relation, rng.choice(world.shown_templates(subject, relation)))
    else:
        text = biography(world, subject, rng)
    opens = text.startswith(subject) and rng.random() < OPENER_SHARE
    return f"{rng.choice(world.openers)} {text}" if opens else text


def passage(world: World, rng: random.Random, words: int) -> str:
    """Sentences joined by spaces, line ends or ends of text, of at least ``words`` words in all."""
    text = END_OF_TEXT if rng.random() < 0.5 else ""
    count = 0
    while count < words:
        new = rng.choice(world.fillers) if rng.random() < FILLER_SHARE else _sentence(world, rng)
        count += len(new.split())
        text += new + rng.choice(SEPARATORS)
    return text.strip()
