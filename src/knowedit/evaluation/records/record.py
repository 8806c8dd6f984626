"""Records: what to change, and the prompts that tell what else changed (Appendix C, Figure 22)."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from knowedit.errors import FileFormatError, InputError
from knowedit.evaluation.records.files import Entry, entries
from knowedit.evaluation.records.forms.counterfact import check_texts
from knowedit.evaluation.records.forms.form import NoSingleEdit
from knowedit.evaluation.records.forms.table import record_fields
from knowedit.evaluation.records.questions import Question
from knowedit.facts import Fact

log = logging.getLogger(__name__)

TRAIN_FILE = "records_train.json"
"""The records of an organism's folder on which layers and settings are chosen."""
TEST_FILE = "records_test.json"
"""The records of an organism's folder on which editors are scored."""

QUESTIONS = ("locality", "portability")
"""The fields of a `Record` that hold questions."""

Prompts = tuple[str, ...] | None


@dataclass(frozen=True)
class Record:
    """One record. A field that its source lacks is None; the scores that need it are not measured.

    Attributes:
        case_id: its number in the file.
        fact: the request; its ``target_true`` is o_c, or None where the source has none.
        paraphrase_prompts: other ways to ask for the same fact.
        neighborhood_prompts: prompts about other subjects with the same (r, o_c).
        generation_prompts: beginnings whose good continuation is implied by the new fact.
        reference_texts: texts about entities that have (r, o*).
        essence_texts: texts about the subject.
        locality: prompts whose answers the edit must not change, of any subject and object (zsRE, KnowEdit).
        portability: prompts whose answers follow from the new fact (KnowEdit, MQuAKE).

    Raises:
        InputError: a field of another type, an empty text, or a new object that is the true one.
    """

    case_id: int
    fact: Fact
    paraphrase_prompts: Prompts = None
    neighborhood_prompts: Prompts = None
    generation_prompts: Prompts = None
    reference_texts: Prompts = None
    essence_texts: Prompts = None
    locality: tuple[Question, ...] | None = None
    portability: tuple[Question, ...] | None = None

    def __post_init__(self) -> None:
        check_texts({item.name: getattr(self, item.name) for item in fields(self) if item.name != "fact"})
        true = self.fact.target_true
        if true is not None and self.fact.target_new.strip() == true.strip():
            raise InputError(
                f"target_new and target_true are both {true!r}: expected a new object that is not the true one"
            )

    @classmethod
    def from_json(cls, entry: object, number: int | None = None) -> Record:
        """Read one record in any of the forms of ``records/forms``.

        Args:
            entry: one JSON object.
            number: the case id where an entry has none, or one that is no number.

        Raises:
            NoSingleEdit: the entry is as its form wants it, and asks for no single edit of a fact.
            InputError: missing or wrong fields, or a request that is no fact.
        """
        return cls(**record_fields(entry, number))

    def as_json(self) -> dict[str, Any]:
        """The record in the schema of ``counterfact.json``; what it lacks is left out."""
        fact = self.fact
        request: dict[str, Any] = {"prompt": fact.prompt}
        if fact.relation is not None:
            request["relation_id"] = fact.relation
        true = None if fact.target_true is None else {"str": fact.target_true}
        request |= {"target_new": {"str": fact.target_new}, "target_true": true}
        request["subject"] = fact.subject
        names = [item.name for item in fields(self) if item.name not in ("case_id", "fact", *QUESTIONS)]
        texts = {name: list(found) for name in names if (found := getattr(self, name)) is not None}
        asked = {name: Question.as_kinds(found) for name in QUESTIONS if (found := getattr(self, name))}
        return {"case_id": self.case_id, "requested_rewrite": request, **texts, **asked}


def read_entries(found: Iterable[Entry]) -> Iterator[Record | InputError]:
    """The record of each entry; or, where there is none, an error that names the place and the reason.

    The case ids seen are kept, since the same one twice is an error, and no record is.

    Args:
        found: entries in any of the known forms. Their number, from 0, is the case id where one has none.
    """
    seen: dict[int, int] = {}
    for number, entry in enumerate(found, start=1):
        try:
            item: Record | InputError = _record(entry, number, seen)
        except InputError as error:
            where = entry.where if entry.problem else f"record {number} ({entry.where})"
            item = _placed(error, where)
        yield item


def _placed(error: InputError, where: str) -> InputError:
    if isinstance(error, NoSingleEdit):
        return NoSingleEdit(error.reason, f"{where}{str(error).removeprefix(error.reason)}")
    return type(error)(f"{where}: {error}")


def _record(entry: Entry, number: int, seen: dict[int, int]) -> Record:
    if entry.problem:
        raise FileFormatError(entry.problem)
    try:
        record = Record.from_json(entry.value, number - 1)
    except RecursionError:
        raise FileFormatError("is nested too deeply to be a record") from None
    first = seen.setdefault(record.case_id, number)
    if first != number:
        raise InputError(f"case_id {record.case_id} was in record {first} already: expected each once")
    return record


class LeftOut:
    """Counts the records of a file that ask for no single edit, by reason."""

    def __init__(self) -> None:
        self._found: dict[str, list[Any]] = {}

    def add(self, error: NoSingleEdit) -> None:
        """Count one more; of each reason the first is kept."""
        self._found.setdefault(error.reason, [0, str(error)])[0] += 1

    @property
    def count(self) -> int:
        """How many there are."""
        return sum(number for number, _ in self._found.values())

    @property
    def reasons(self) -> dict[str, int]:
        """How many there are for each reason."""
        return {reason: number for reason, (number, _) in self._found.items()}

    def __str__(self) -> str:
        parts = (
            f"{number:,} since {reason} (first: {told.removeprefix(f'{reason}: ')})"
            for reason, (number, told) in self._found.items()
        )
        return f"{self.count:,} left out: {'; '.join(parts)}"


def iter_records(path: str | Path, *, left: LeftOut | None = None) -> Iterator[Record]:
    """Read records one at a time from a JSON list, from JSON Lines or from one object, in any of the known forms.

    The file may be compressed by gzip. Memory does not grow with it, but for the case ids. Read until the end: a bad
    record may be the last. A record that asks for no single edit of a fact, such as one of MQuAKE with two edits, is
    left out; how many were, and why, is logged as a warning when reading ends.

    Args:
        path: the file.
        left: what is left out is added to it, and not logged.

    Raises:
        InputError: there is no such file, a record is incomplete (the record and its line are named), or all of them
            are left out.
        FileFormatError: what is there is not JSON, or no record.
    """
    yield from usable(entries(path), path, left)


def usable(found: Iterable[Entry], source: object, left: LeftOut | None = None) -> Iterator[Record]:
    """The records of entries; see `iter_records`.

    Args:
        found: see `read_entries`.
        source: what the entries come from, for messages.
        left: see `iter_records`.

    Raises:
        InputError: see `iter_records`.
    """
    logged, left, used = left is None, left or LeftOut(), 0
    try:
        for item in read_entries(found):
            if isinstance(item, NoSingleEdit):
                left.add(item)
            elif isinstance(item, InputError):
                raise type(item)(f"{source}, {item}")
            else:
                used += 1
                yield item
    finally:
        if logged and left.count and used:
            log.warning("%s: of the records read %s", source, left)
    if left.count and not used:
        raise InputError(f"{source} has no record that asks for a single edit: {left}; give records that do")


def load_records(path: str | Path) -> list[Record]:
    """Read all records of a file; see `iter_records`.

    Raises:
        InputError: see `iter_records`.
        FileFormatError: what is there is not JSON, or no record.
    """
    return list(iter_records(path))
