"""Records from facts and templates: a request, paraphrases, neighborhood and generation prompts for each fact."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from knowedit.errors import InputError
from knowedit.evaluation.records.compiler.table import FactTable, Skipped, Triple
from knowedit.evaluation.records.compiler.templates import usable_templates
from knowedit.evaluation.records.record import Record
from knowedit.facts import Fact, fill

NO_TEMPLATES = "fact: its relation has no usable templates"
NOT_A_FACT = "fact: its texts are no request"

Templates = Mapping[str, Sequence[str]]


EXAMPLES = 5
"""How many of what was left out for a reason a manifest names."""


@dataclass(frozen=True, eq=False)
class Compiled:
    """What was made.

    Attributes:
        records: in the order of the facts, numbered from 0.
        skipped: what was left out, and why.
        facts: how many distinct facts there were.
        templates: the usable prompts of each relation.
        sizes: how many prompts of each kind a record has.
    """

    records: list[Record]
    skipped: Skipped
    facts: int
    templates: dict[str, list[str]]
    sizes: dict[str, int]

    def manifest(self) -> dict[str, Any]:
        """The counts, as JSON."""
        return {
            "records": len(self.records),
            "facts": self.facts,
            "relations": len({record.fact.relation for record in self.records}),
            "templates": sum(map(len, self.templates.values())),
            "skipped": {reason: len(found) for reason, found in sorted(self.skipped.items())},
            "examples": {reason: found[:EXAMPLES] for reason, found in sorted(self.skipped.items())},
            "settings": self.sizes,
        }


def compile_records(
    facts: Sequence[Triple],
    templates: Templates,
    *,
    rng: random.Random,
    generation: Templates | None = None,
    paraphrases: int = 2,
    neighbors: int = 10,
    generations: int = 10,
) -> Compiled:
    """One record for each fact that can have one; a reason is counted for each that cannot.

    Args:
        facts: subject, relation and object of each.
        templates: relation to templates in ParaRel's form, ``[X] plays the [Y].``
        rng: draws everything; the same state gives the same records.
        generation: relation to beginnings with ``{}`` for the subject. Without it for a relation, the
            generation prompts of its records are None.
        paraphrases: how many a record has; this and the next are the paper's by default.
        neighbors: how many neighborhood prompts a record has; a fact with fewer is left out.
        generations: how many generation prompts a record has, drawn with replacement, as in Figure 22: ten, of
            which three differ.

    Raises:
        InputError: a negative number of prompts.
    """
    sizes = {"paraphrases": paraphrases, "neighbors": neighbors, "generations": generations}
    if min(sizes.values()) < 0:
        raise InputError(f"a record cannot have {min(sizes.values())} prompts: give 0 or more")
    skipped: Skipped = defaultdict(list)
    table = FactTable(facts, skipped)
    usable = usable_templates(templates, skipped, paraphrases + 1)
    compiler = _Compiler(table, usable, generation or {}, sizes, rng)
    records: list[Record] = []
    for fact in table.triples:
        try:
            records.append(compiler.record(len(records), fact))
        except InputError as error:
            skipped[NOT_A_FACT].append(f"{' '.join(fact)}: {error}")
        except ValueError as reason:
            skipped[str(reason)].append(" ".join(fact))
    return Compiled(records, skipped, len(table.triples), usable, sizes)


@dataclass(frozen=True, eq=False)
class _Compiler:
    table: FactTable
    templates: Templates
    generation: Templates
    sizes: Mapping[str, int]
    rng: random.Random

    def record(self, case_id: int, fact: Triple) -> Record:
        """The record of a fact.

        Raises:
            ValueError: it cannot have one; the message is the reason.
            InputError: its texts are no request.
        """
        subject, relation, true = fact
        if not (templates := self.templates.get(relation, ())):
            raise ValueError(NO_TEMPLATES)
        new = self.table.draw_target(subject, relation, self.rng)
        prompt, *others = self.rng.sample(templates, 1 + self.sizes["paraphrases"])
        near = self.table.draw_neighborhood(fact, new, templates, self.sizes["neighbors"], self.rng)
        return Record(
            case_id=case_id,
            fact=Fact(subject, prompt, new, true, relation),
            paraphrase_prompts=tuple(fill(other, subject) for other in others),
            neighborhood_prompts=tuple(near),
            generation_prompts=self._beginnings(subject, relation),
        )

    def _beginnings(self, subject: str, relation: str) -> tuple[str, ...] | None:
        if not (given := self.generation.get(relation, ())):
            return None
        drawn = self.rng.choices(given, k=self.sizes["generations"])
        return tuple(fill(template, subject) for template in drawn)
