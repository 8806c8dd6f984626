"""Facts looked up by relation, subject and object; new objects and neighborhood prompts are drawn from them (C.1)."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from knowedit.facts import fill

REPEATED = "fact: given twice"
NO_OTHER = "fact: the relation has no other object"
TOO_FEW = "fact: too few neighborhood prompts"

Triple = tuple[str, str, str]
"""Subject, relation, object."""


Skipped = defaultdict[str, list[str]]
"""What was left out, by reason."""


class FactTable:
    """The distinct facts of a table, in its order.

    Attributes:
        triples: subject, relation and object of each.
    """

    def __init__(self, triples: Iterable[Triple], skipped: Skipped) -> None:
        self.triples: list[Triple] = []
        self._objects: dict[tuple[str, str], list[str]] = defaultdict(list)
        self._subjects: dict[tuple[str, str], list[str]] = defaultdict(list)
        self._weights: dict[str, Counter[str]] = defaultdict(Counter)
        for subject, relation, thing in triples:
            if thing in self._objects[subject, relation]:
                skipped[REPEATED].append(f"{subject} {relation} {thing}")
                continue
            self.triples.append((subject, relation, thing))
            self._objects[subject, relation].append(thing)
            self._subjects[relation, thing].append(subject)
            self._weights[relation][thing] += 1

    def draw_target(self, subject: str, relation: str, rng: random.Random) -> str:
        """An object that is not true of the subject, each as often as facts of the relation have it.

        Raises:
            ValueError: there is none; the message is the reason.
        """
        true = {thing.strip() for thing in self._objects.get((subject, relation), ())}
        others = {thing: n for thing, n in self._weights[relation].items() if thing.strip() not in true}
        if not others:
            raise ValueError(NO_OTHER)
        return rng.choices(list(others), list(others.values()))[0]

    def draw_neighborhood(
        self, fact: Triple, new: str, templates: Sequence[str], count: int, rng: random.Random
    ) -> list[str]:
        """Distinct prompts about other subjects with the same (r, o_c), whose answer must stay.

        They are drawn out of all templates filled with all such subjects, each with the same chance. A subject of
        which the new object is true as well is left out: there, to predict it is no mistake.

        Raises:
            ValueError: there are fewer than `count`; the message is the reason.
        """
        subject, relation, true = fact
        others = [
            name
            for name in self._subjects.get((relation, true), ())
            if name != subject and new not in self._objects.get((name, relation), ())
        ]
        if len(others) * len(templates) < count:
            raise ValueError(TOO_FEW)
        drawn = rng.sample(range(len(others) * len(templates)), count)
        pairs = [divmod(number, len(templates)) for number in drawn]
        return [fill(templates[template], others[name]) for name, template in pairs]
