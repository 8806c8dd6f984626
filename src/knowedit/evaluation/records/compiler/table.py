"""Facts looked up by relation, by subject and by object; and what is left out, counted by reason."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

EXAMPLES = 5
REPEATED = "fact: given twice"

Triple = tuple[str, str, str]
"""Subject, relation, object."""


@dataclass
class Skipped:
    """What was left out, and why.

    Attributes:
        counts: how often, by reason.
        examples: the first few of each reason.
    """

    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def add(self, reason: str, example: str) -> None:
        """Count one more."""
        self.counts[reason] += 1
        if len(self.examples[reason]) < EXAMPLES:
            self.examples[reason].append(example)


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
                skipped.add(REPEATED, f"{subject} {relation} {thing}")
                continue
            self.triples.append((subject, relation, thing))
            self._objects[subject, relation].append(thing)
            self._subjects[relation, thing].append(subject)
            self._weights[relation][thing] += 1

    def objects(self, subject: str, relation: str) -> list[str]:
        """All true objects of a subject; there may be several."""
        return self._objects.get((subject, relation), [])

    def subjects(self, relation: str, thing: str) -> list[str]:
        """All subjects that have the object."""
        return self._subjects.get((relation, thing), [])

    def weights(self, relation: str) -> Counter[str]:
        """Each object of a relation, with the number of facts that have it."""
        return self._weights[relation]
