"""The counts of Table 1: how many records, subjects, objects and distinct prompts a set of records has.

`check_records` counts a file from end to end, whatever bad records are in it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from knowedit.evaluation.records.files import entries
from knowedit.evaluation.records.forms.form import NoSingleEdit
from knowedit.evaluation.records.questions import Question
from knowedit.evaluation.records.record import LeftOut, Record, read_entries

if TYPE_CHECKING:
    from rich.table import Table

Texts = Sequence[str] | None

ROWS: dict[str, Callable[[Record], Texts]] = {
    "Subjects": lambda record: (record.fact.subject,),
    "Objects": lambda record: (record.fact.target_new,),
    "Counterfactual Statements": lambda record: (record.fact.text,),
    "Paraphrase Prompts": lambda record: record.paraphrase_prompts,
    "Neighborhood Prompts": lambda record: record.neighborhood_prompts,
    "Generation Prompts": lambda record: record.generation_prompts,
}
"""The rows below "Records", and the texts of which each counts the distinct ones."""

MORE_ROWS: dict[str, Callable[[Record], Texts]] = {
    "Locality Prompts": lambda record: _prompts(record.locality),
    "Portability Prompts": lambda record: _prompts(record.portability),
}
"""Rows that the paper does not have; each is there if a record has such prompts."""


def _prompts(questions: Sequence[Question] | None) -> Texts:
    return None if questions is None else [one.prompt for one in questions]


PAPER: dict[str, tuple[int, int, int]] = {
    "Records": (21919, 645, 1),
    "Subjects": (20391, 624, 1),
    "Objects": (749, 60, 1),
    "Counterfactual Statements": (21595, 635, 1),
    "Paraphrase Prompts": (42876, 1262, 2),
    "Neighborhood Prompts": (82650, 2441, 10),
    "Generation Prompts": (62346, 1841, 3),
}
"""Table 1 as printed: total, per relation, per record."""


@dataclass(frozen=True)
class Count:
    """A row of Table 1, in numbers of distinct texts.

    Attributes:
        name: the row's name in the paper.
        total: in the whole file; None where no record has the field.
        per_relation: the mean over relations of the number in one; None where a record has no relation.
        per_record: the mean over the records that have the field.
        records: how many records have the field.
    """

    name: str
    total: int | None
    per_relation: float | None
    per_record: float | None
    records: int

    def cells(self) -> tuple[str, str, str]:
        """The numbers as the paper prints them; ``-`` for what the file does not have."""
        total = "-" if self.total is None else f"{self.total:,}"
        per_relation = "-" if self.per_relation is None else f"{self.per_relation:,.0f}"
        per_record = "-" if self.per_record is None else f"{self.per_record:.1f}".removesuffix(".0")
        return total, per_relation, per_record


@dataclass
class _Tally:
    """The distinct texts of each relation, as digests, and the sum over records of the distinct ones."""

    texts: dict[str | None, set[bytes]] = field(default_factory=lambda: defaultdict(set))
    records: int = 0
    of_records: int = 0

    def add(self, relation: str | None, texts: Texts) -> None:
        if texts is None:
            return
        distinct = {blake2b(text.encode(), digest_size=16).digest() for text in texts}
        self.texts[relation] |= distinct
        self.records += 1
        self.of_records += len(distinct)

    def count(self, name: str, *, related: bool) -> Count:
        if not self.records:
            return Count(name, None, None, None, 0)
        total = len(set().union(*self.texts.values()))
        mean = fmean(map(len, self.texts.values())) if related else None
        return Count(name, total, mean, self.of_records / self.records, self.records)


class Table1:
    """Counts records as they pass; it keeps 16 bytes a distinct text and relation, and no record.

    A digest of 128 bits stands for a text: that any two of a million texts share one has a chance below 1e-26.

    Attributes:
        left_out: the records that ask for no single edit; they are not counted.
        without_truth: how many records have no true object.
        without_answer: how many locality and portability prompts have no answer, so that they are not scored.
    """

    def __init__(self) -> None:
        self.left_out = LeftOut()
        self.without_truth = self.without_answer = 0
        self._tallies = {name: _Tally() for name in ROWS | MORE_ROWS}
        self._relations: dict[str | None, int] = defaultdict(int)

    def add(self, record: Record) -> None:
        """Count one more record."""
        self._relations[record.fact.relation] += 1
        for name, texts in (ROWS | MORE_ROWS).items():
            self._tallies[name].add(record.fact.relation, texts(record))
        self.without_truth += record.fact.target_true is None
        self.without_answer += sum(
            not one.answers for one in (*(record.locality or ()), *(record.portability or ()))
        )

    def add_all(self, records: Iterable[Record]) -> Table1:
        """Count all of them, and return the table."""
        for record in records:
            self.add(record)
        return self

    @property
    def records(self) -> int:
        """How many records were counted."""
        return sum(self._relations.values())

    @property
    def relations(self) -> int | None:
        """How many relations there are; None where a record has none, or where there are no records."""
        return len(self._relations) if self._related else None

    @property
    def _related(self) -> bool:
        return bool(self._relations) and None not in self._relations

    def rows(self) -> list[Count]:
        """The rows of Table 1, in its order, and those of other prompts that there are."""
        records = self.records
        mean = records / len(self._relations) if self._related else None
        first = Count("Records", records, mean, 1.0 if records else None, records)
        shown = {name: tally for name, tally in self._tallies.items() if name in ROWS or tally.records}
        return [first, *(tally.count(name, related=self._related) for name, tally in shown.items())]

    def __rich__(self) -> Table:
        """The table in a terminal."""
        from rich.table import Table

        table = Table("", title="Table 1")
        for name in ("total", "per relation", "per record"):
            table.add_column(name, justify="right")
        for row in self.rows():
            table.add_row(row.name, *row.cells())
        return table


def check_records(path: str | Path, table: Table1) -> Iterator[str]:
    """Read a file of records to its end: the good ones are added to the table, each bad one is named.

    Those that ask for no single edit of a fact are counted as `Table1.left_out`.

    Yields:
        Where a bad entry is and what is wrong with it, one line each.

    Raises:
        InputError: there is no such file.
    """
    for item in read_entries(entries(path)):
        if isinstance(item, Record):
            table.add(item)
        elif isinstance(item, NoSingleEdit):
            table.left_out.add(item)
        else:
            yield " ".join(str(item).split())
