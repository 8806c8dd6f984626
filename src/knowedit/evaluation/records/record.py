"""COUNTERFACT records: what to change, and the prompts that tell what else changed (Appendix C, Figure 22)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from knowedit.errors import FileFormatError, InputError
from knowedit.evaluation.records.files import Entry, entries
from knowedit.evaluation.records.forms import check_texts, record_fields
from knowedit.facts import Fact

TRAIN_FILE = "records_train.json"
"""The records of an organism's folder on which layers and settings are chosen."""
TEST_FILE = "records_test.json"
"""The records of an organism's folder on which editors are scored."""

Prompts = tuple[str, ...] | None


@dataclass(frozen=True)
class Record:
    """One COUNTERFACT record. A field that its source lacks is None; the scores that need it are not measured.

    Attributes:
        case_id: its number in the file.
        fact: the request; its ``target_true`` is o_c.
        paraphrase_prompts: other ways to ask for the same fact.
        neighborhood_prompts: prompts about other subjects with the same (r, o_c).
        generation_prompts: beginnings whose good continuation is implied by the new fact.
        reference_texts: texts about entities that have (r, o*).
        essence_texts: texts about the subject.

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

    def __post_init__(self) -> None:
        check_texts({item.name: getattr(self, item.name) for item in fields(self) if item.name != "fact"})
        true = self.fact.target_true
        if true is not None and self.fact.target_new.strip() == true.strip():
            raise InputError(
                f"target_new and target_true are both {true!r}: expected a new object that is not the true one"
            )

    @classmethod
    def from_json(cls, entry: object, number: int | None = None) -> Record:
        """Read one record in the schema of ``counterfact.json``, the compact or the flat form.

        Args:
            entry: one JSON object.
            number: the case id where an entry of the flat form has none.

        Raises:
            InputError: missing or wrong fields, or a request that is no fact.
        """
        return cls(**record_fields(entry, number))

    def as_json(self) -> dict[str, Any]:
        """The record in the schema of ``counterfact.json``; what it lacks is left out."""
        fact = self.fact
        request: dict[str, Any] = {"prompt": fact.prompt}
        if fact.relation is not None:
            request["relation_id"] = fact.relation
        request |= {"target_new": {"str": fact.target_new}, "target_true": {"str": fact.target_true}}
        request["subject"] = fact.subject
        names = [item.name for item in fields(self) if item.name not in ("case_id", "fact")]
        texts = {name: list(found) for name in names if (found := getattr(self, name)) is not None}
        return {"case_id": self.case_id, "requested_rewrite": request, **texts}


def read_entries(found: Iterable[Entry]) -> Iterator[Record | InputError]:
    """The record of each entry; or, where there is none, an error that names the place and the reason.

    The case ids seen are kept, since the same one twice is an error, and no record is.

    Args:
        found: entries in any of the known forms. Their number, from 0, is the case id where the flat form has none.
    """
    seen: dict[int, int] = {}
    for number, entry in enumerate(found, start=1):
        try:
            item: Record | InputError = _record(entry, number, seen)
        except InputError as error:
            where = entry.where if entry.problem else f"record {number} ({entry.where})"
            item = type(error)(f"{where}: {error}")
        yield item


def _record(entry: Entry, number: int, seen: dict[int, int]) -> Record:
    if entry.problem:
        raise FileFormatError(entry.problem)
    record = Record.from_json(entry.value, number - 1)
    first = seen.setdefault(record.case_id, number)
    if first != number:
        raise InputError(f"case_id {record.case_id} was in record {first} already: expected each once")
    return record


def iter_records(path: str | Path) -> Iterator[Record]:
    """Read records one at a time from a JSON list or from JSON Lines, in any of the known forms.

    Memory does not grow with the file, but for the case ids. Read until the end: a bad record may be the last.

    Raises:
        InputError: there is no such file, or a record is incomplete; the record and its line are named.
        FileFormatError: what is there is not JSON, or no record.
    """
    for item in read_entries(entries(path)):
        if isinstance(item, InputError):
            raise type(item)(f"{path}, {item}")
        yield item


def load_records(path: str | Path) -> list[Record]:
    """Read all records of a file; see `iter_records`.

    Raises:
        InputError: there is no such file, or a record is incomplete.
        FileFormatError: what is there is not JSON, or no record.
    """
    return list(iter_records(path))
