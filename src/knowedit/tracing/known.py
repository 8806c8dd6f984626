"""Facts that a model knows, as whole prompts, and the files that hold lists of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from knowedit.errors import FileFormatError, InputError
from knowedit.facts import SLOT, fill, is_unicode
from knowedit.models import LanguageModel, Prompt, locate_in
from knowedit.tensorfile import PathLike, write_bytes

ANSWERS = ("answer", "attribute", "target_true")
"""How lists of facts name the object: ours, ``known_1000.json``, and the lists that come with the organisms."""


@dataclass(frozen=True)
class KnownFact:
    """A prompt that ends where the object follows.

    Attributes:
        prompt: the whole text up to the object, with the subject written out.
        subject: as it stands in the prompt.
        answer: the object.

    Raises:
        InputError: an empty field, text that is not Unicode, or a subject that is not in the prompt.
    """

    prompt: str
    subject: str
    answer: str

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not isinstance(value, str) or not value.strip() or not is_unicode(value):
                raise InputError(
                    f"the {name} is {value!r}, expected a text with at least one visible character"
                )
        if self.subject not in self.prompt:
            raise InputError(
                f"the subject {self.subject!r} does not stand in the prompt {self.prompt!r}: "
                "write it as the prompt does"
            )

    def locate(self, lm: LanguageModel) -> Prompt:
        """The prompt's tokens and those of its subject.

        Raises:
            InputError: the subject stands more than once in the prompt.
        """
        return locate_in(lm, self.prompt, self.subject)


def load_known_facts(path: PathLike) -> list[KnownFact]:
    """Read a JSON list of facts.

    An entry has ``prompt``, ``subject`` and the object, as ``answer`` (`save_known_facts`), ``attribute``
    (``known_1000.json``) or ``target_true`` (the organisms' ``known_facts.json``). A prompt with a slot ``{}``
    and without the subject is filled. The field ``template`` is not read: in ``known_1000.json`` the prompt
    often goes on after it.

    Raises:
        InputError: there is no such file, no fact in it, or an entry that is no fact; its number is named.
        FileFormatError: the file is not a JSON list.
    """
    source = Path(path)
    if not source.is_file():
        raise InputError(
            f"there is no file {source}: expected a JSON list of facts with prompt, subject and answer"
        )
    try:
        entries = json.loads(source.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise FileFormatError(f"{source} is not JSON ({error}): expected a list of facts") from None
    if not isinstance(entries, list):
        raise FileFormatError(f"{source} holds a {type(entries).__name__}: expected a list of facts")
    if not entries:
        raise InputError(f"{source} holds an empty list: expected at least one fact")
    return [_entry(source, number, entry) for number, entry in enumerate(entries)]


def _entry(source: Path, number: int, entry: Any) -> KnownFact:
    try:
        return _fact(entry)
    except InputError as error:
        raise InputError(f"entry {number} of {source} (from 0): {error}") from None


def _fact(entry: Any) -> KnownFact:
    answers = [name for name in ANSWERS if isinstance(entry, Mapping) and name in entry]
    if not answers or not {"prompt", "subject"} <= entry.keys():
        raise InputError(
            f"found {json.dumps(entry, ensure_ascii=False)[:100]}, expected an object with prompt, subject and "
            f"{' or '.join(ANSWERS)}"
        )
    prompt, subject, answer = entry["prompt"], entry["subject"], entry[answers[0]]
    texts = isinstance(prompt, str) and isinstance(subject, str)
    if texts and SLOT in prompt and subject not in prompt:
        prompt = fill(prompt, subject)
    return KnownFact(prompt, subject, answer)


def save_known_facts(facts: Iterable[KnownFact], path: PathLike) -> None:
    """Write a list that `load_known_facts` reads, one fact a line, atomically.

    Raises:
        InputError: no fact, or the folder does not exist.
    """
    lines = [json.dumps(asdict(fact), ensure_ascii=False) for fact in facts]
    if not lines:
        raise InputError("there are no facts to save: expected at least one")
    write_bytes(path, ("[\n" + ",\n".join(lines) + "\n]\n").encode())


def facts_digest(facts: Sequence[KnownFact]) -> str:
    """SHA-256 of a list of facts in its order."""
    rows = [[fact.prompt, fact.subject, fact.answer] for fact in facts]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()
