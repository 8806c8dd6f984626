"""Check a file of records from end to end: every bad record is named, and the good ones are counted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from knowedit.errors import InputError
from knowedit.evaluation.records.counts import Table1
from knowedit.evaluation.records.files import entries
from knowedit.evaluation.records.record import Reader, Record, place

NAMED = 100
"""Bad records that are kept by name at most; all are counted."""


@dataclass
class Check:
    """What was found in a file.

    Attributes:
        table: the counts of the good records.
        good: how many there are.
        bad: how many entries are no good record.
        problems: where the first bad ones are and what is wrong with them, one line each.
    """

    table: Table1 = field(default_factory=Table1)
    good: int = 0
    bad: int = 0
    problems: list[str] = field(default_factory=list)

    def accept(self, record: Record) -> None:
        """Count a good record."""
        self.good += 1
        self.table.add(record)

    def refuse(self, problem: str) -> None:
        """Count a bad one."""
        self.bad += 1
        if len(self.problems) < NAMED:
            self.problems.append(problem)


def check_records(path: str | Path) -> Check:
    """Read a file of records to its end, and count what is good and what is bad.

    Raises:
        InputError: there is no such file.
    """
    found = Check()
    for item in _outcomes(path):
        if isinstance(item, Record):
            found.accept(item)
        else:
            found.refuse(item)
    return found


def _outcomes(path: str | Path) -> Iterator[Record | str]:
    reader = Reader()
    for number, entry in enumerate(entries(path), start=1):
        try:
            yield reader.read(entry, number)
        except InputError as error:
            where = f"line {entry.line}" if entry.problem else place(entry, number)
            yield f"{where}: {' '.join(str(error).split())}"
