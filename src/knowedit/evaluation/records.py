"""COUNTERFACT records: what to change, and the prompts that tell what else changed (Appendix C, Figure 22)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from knowedit.errors import FileFormatError, InputError
from knowedit.facts import Fact

TRAIN_FILE = "records_train.json"
TEST_FILE = "records_test.json"


@dataclass(frozen=True)
class Record:
    """One COUNTERFACT record.

    Attributes:
        case_id: its number in the file.
        fact: the request; its ``target_true`` is o_c.
        paraphrase_prompts: other ways to ask for the same fact.
        neighborhood_prompts: prompts about other subjects with the same (r, o_c).
        generation_prompts: beginnings whose good continuation is implied by the new fact.
        reference_texts: texts about entities that have (r, o*).
        essence_texts: texts about the subject.
    """

    case_id: int
    fact: Fact
    paraphrase_prompts: tuple[str, ...]
    neighborhood_prompts: tuple[str, ...]
    generation_prompts: tuple[str, ...]
    reference_texts: tuple[str, ...]
    essence_texts: tuple[str, ...]

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> Record:
        """Read one record in the schema of the official ``counterfact.json``.

        Raises:
            InputError: a missing field, or a request that is no fact.
        """
        try:
            request = entry["requested_rewrite"]
            fact = Fact(
                subject=request["subject"],
                prompt=request["prompt"],
                target_new=request["target_new"]["str"],
                target_true=request["target_true"]["str"],
                relation=request.get("relation_id"),
            )
            texts = {name: tuple(entry[name]) for name in ("paraphrase_prompts", "neighborhood_prompts")}
        except (KeyError, TypeError) as error:
            raise InputError(
                f"a record lacks the field {error}: expected the schema of counterfact.json"
            ) from None
        for name in ("generation_prompts", "reference_texts", "essence_texts"):
            texts[name] = tuple(entry.get(name, ()))
        return cls(case_id=int(entry["case_id"]), fact=fact, **texts)


def load_records(path: str | Path) -> list[Record]:
    """Read a JSON list of records.

    Raises:
        InputError: there is no such file, or a record is incomplete.
        FileFormatError: the file is not a JSON list.
    """
    source = Path(path)
    if not source.is_file():
        raise InputError(f"there is no file {source}: expected a JSON list of COUNTERFACT records")
    try:
        entries = json.loads(source.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise FileFormatError(f"{source} is not JSON ({error}): expected a list of records") from None
    if not isinstance(entries, list):
        raise FileFormatError(f"{source} holds a {type(entries).__name__}: expected a list of records")
    return [Record.from_json(entry) for entry in entries]
