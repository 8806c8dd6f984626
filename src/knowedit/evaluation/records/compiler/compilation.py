"""Records from facts and templates: a request, paraphrases, neighbours and generation prompts for each fact."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from knowedit.errors import InputError
from knowedit.evaluation.records.compiler.neighbours import draw_neighbours
from knowedit.evaluation.records.compiler.table import FactTable, Skipped, Triple
from knowedit.evaluation.records.compiler.targets import draw_target
from knowedit.evaluation.records.compiler.templates import usable_templates
from knowedit.evaluation.records.record import Record
from knowedit.facts import Fact, fill

NO_TEMPLATES = "fact: its relation has no usable templates"
NOT_A_FACT = "fact: its texts are no request"

Templates = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class CompilerSettings:
    """How many prompts a record has; the defaults are the paper's.

    Attributes:
        paraphrases: of the request.
        neighbours: neighbourhood prompts; a fact with fewer is left out.
        generations: generation prompts, drawn with replacement, as in Figure 22: ten, of which three differ.
    """

    paraphrases: int = 2
    neighbours: int = 10
    generations: int = 10

    def __post_init__(self) -> None:
        if min(asdict(self).values()) < 0:
            raise InputError(f"a record cannot have {min(asdict(self).values())} prompts: give 0 or more")


@dataclass(frozen=True, eq=False)
class Compiled:
    """What was made.

    Attributes:
        records: in the order of the facts, numbered from 0.
        skipped: what was left out, and why.
        facts: how many distinct facts there were.
        templates: the usable prompts of each relation.
        settings: how many prompts a record has.
    """

    records: list[Record]
    skipped: Skipped
    facts: int
    templates: dict[str, list[str]]
    settings: CompilerSettings

    def manifest(self) -> dict[str, Any]:
        """The counts, as JSON."""
        return {
            "records": len(self.records),
            "facts": self.facts,
            "relations": len({record.fact.relation for record in self.records}),
            "templates": sum(map(len, self.templates.values())),
            "skipped": dict(sorted(self.skipped.counts.items())),
            "examples": {reason: list(found) for reason, found in sorted(self.skipped.examples.items())},
            "settings": asdict(self.settings),
        }


def compile_records(
    facts: Sequence[Triple],
    templates: Templates,
    *,
    rng: random.Random,
    generation: Templates | None = None,
    settings: CompilerSettings | None = None,
) -> Compiled:
    """One record for each fact that can have one; a reason is counted for each that cannot.

    Args:
        facts: subject, relation and object of each.
        templates: relation to templates in ParaRel's form, ``[X] plays the [Y].``
        rng: draws everything; the same state gives the same records.
        generation: relation to beginnings with ``{}`` for the subject. Without it for a relation, the
            generation prompts of its records are None.
        settings: how many prompts a record has.
    """
    chosen, skipped = settings or CompilerSettings(), Skipped()
    table = FactTable(facts, skipped)
    usable = usable_templates(templates, skipped, chosen.paraphrases + 1)
    compiler = _Compiler(table, usable, generation or {}, chosen, rng)
    records: list[Record] = []
    for fact in table.triples:
        try:
            records.append(compiler.record(len(records), fact))
        except InputError as error:
            skipped.add(NOT_A_FACT, f"{' '.join(fact)}: {error}")
        except ValueError as reason:
            skipped.add(str(reason), " ".join(fact))
    return Compiled(records, skipped, len(table.triples), usable, chosen)


@dataclass(frozen=True, eq=False)
class _Compiler:
    table: FactTable
    templates: Templates
    generation: Templates
    settings: CompilerSettings
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
        new = draw_target(self.table, subject, relation, self.rng)
        prompt, *others = self.rng.sample(templates, 1 + self.settings.paraphrases)
        near = draw_neighbours(self.table, fact, new, templates, self.settings.neighbours, self.rng)
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
        drawn = self.rng.choices(given, k=self.settings.generations)
        return tuple(fill(template, subject) for template in drawn)
