"""Facts that a model knows, as whole prompts: how they are found (Appendix B.1), and files of them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from knowedit.errors import FileFormatError, InputError
from knowedit.facts import SLOT, Fact, fill, is_unicode
from knowedit.models import LanguageModel, Prompt, locate_in
from knowedit.reading import read_json
from knowedit.tracing.causal import MEMORY, causal_trace
from knowedit.tracing.settings import TraceSettings
from knowedit.tracing.trace import Trace
from knowedit.writing import PathLike, write_bytes

TOKENS = 10
"""Tokens that are generated; the texts in the released list of known facts are about that long."""

BATCH = 32
WORD = re.compile(r"\w+")
ANSWERS = ("answer", "attribute", "target_true")
"""How lists of facts name the object: ours, ``known_1000.json``, and the lists that come with the organisms."""


@dataclass(frozen=True)
class KnownFact:
    """A prompt that ends where the object follows.

    Attributes:
        prompt: the whole text up to the object, with the subject written out.
        subject: as it is written in the prompt.
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
                f"the subject {self.subject!r} does not occur in the prompt {self.prompt!r}: "
                "write it as the prompt does"
            )

    @classmethod
    def recalled(cls, fact: Fact, continuation: str) -> KnownFact | None:
        """The known fact if ``continuation``, which follows ``fact.text``, names its true object in time.

        The object has to be there as whole words after one space, or else the text up to it would not be a
        prompt that it follows.

        Raises:
            InputError: the fact has no true object.
        """
        answer = (fact.target_true or "").strip()
        if not answer:
            raise InputError(f"the fact {fact.text!r} has no true object: give target_true")
        found = re.search(rf"(?<!\s) {re.escape(answer)}(?!\w)", continuation)
        if found is None or any(word[0].isupper() for word in WORD.findall(continuation[: found.start()])):
            return None
        return cls(fact.text + continuation[: found.start()], fact.subject, answer)

    def locate(self, lm: LanguageModel) -> Prompt:
        """The prompt's tokens and those of its subject.

        Raises:
            InputError: the subject occurs more than once in the prompt.
        """
        return locate_in(lm, self.prompt, self.subject)

    def noise_seed(self, seed: int) -> int:
        """The seed of this prompt's noise: 63 bits of the SHA-256 of a run's seed and the prompt.

        It depends on no other fact and no order, so a fact has the same trace in every list.
        """
        digest = hashlib.sha256(f"{seed} {self.prompt}".encode()).digest()
        return int.from_bytes(digest[:8], "big") >> 1

    def trace(
        self,
        lm: LanguageModel,
        settings: TraceSettings | None = None,
        *,
        seed: int = 0,
        memory: int = MEMORY,
        digest: str | None = None,
    ) -> Trace:
        """Trace the fact with its own noise; see `causal_trace`.

        Args:
            lm: the model as it is now.
            settings: how.
            seed: of a run over many facts; see `noise_seed`.
            memory: bytes that may be used on top of the model.
            digest: that of the weights' `Fingerprint`, if the caller has it.

        Raises:
            InputError: a fact that cannot be traced.

        Warns:
            UnpredictedAnswer: the model predicts something else.
        """
        return causal_trace(
            lm,
            self.locate(lm),
            self.subject,
            answer=self.answer,
            settings=settings,
            seed=self.noise_seed(seed),
            memory=memory,
            digest=digest,
        )


def recall_facts(
    lm: LanguageModel, facts: Iterable[Fact], *, max_new_tokens: int = TOKENS, batch_size: int = BATCH
) -> Iterator[KnownFact | None]:
    """For each fact in turn, the prompt after which the model names its true object, or None.

    A fact is known if the model's most probable continuation names the object before any other capitalised
    word. The text up to the object is then the prompt, so it may be longer than the fact's own.

    Args:
        lm: the model.
        facts: with ``target_true``; a generator is read in batches.
        max_new_tokens: how far the model may go before it has to name the object.
        batch_size: prompts that are continued together.

    Raises:
        InputError: a fact without a true object, or numbers that are not positive.
    """
    if max_new_tokens < 1 or batch_size < 1:
        raise InputError(
            f"max_new_tokens is {max_new_tokens} and batch_size is {batch_size}: both have to be at least 1"
        )
    return _recalled(lm, facts, max_new_tokens, batch_size)


def _recalled(lm: LanguageModel, facts: Iterable[Fact], count: int, size: int) -> Iterator[KnownFact | None]:
    rest = iter(facts)
    while group := list(islice(rest, size)):
        texts = lm.generate([fact.text for fact in group], count)
        for fact, text in zip(group, texts, strict=True):
            yield KnownFact.recalled(fact, text.removeprefix(fact.text))


def load_known_facts(path: PathLike) -> list[KnownFact]:
    """Read a JSON list of facts.

    An entry has ``prompt``, ``subject`` and the object, as ``answer`` (`save_known_facts`), ``attribute``
    (``known_1000.json``) or ``target_true`` (the organisms' ``known_facts.json``). A prompt with a slot ``{}``
    and without the subject is filled. The field ``template`` is not read: in ``known_1000.json`` the prompt
    often continues after it.

    Raises:
        InputError: there is no such file, no fact in it, or an entry that is no fact; its number is named.
        FileFormatError: the file is not a JSON list.
    """
    source = Path(path)
    if not source.is_file():
        raise InputError(
            f"there is no file {source}: expected a JSON list of facts with prompt, subject and answer"
        )
    entries = read_json(source, "expected a list of facts")
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


def save_known_facts(facts: Iterable[KnownFact], path: PathLike, *, force: bool = False) -> None:
    """Write a list that `load_known_facts` reads, one fact a line, atomically.

    Args:
        facts: at least one.
        path: the file; its folder must exist.
        force: replace a file that is there.

    Raises:
        InputError: no fact, no such folder, a full disk, or a file that is there.
    """
    lines = [json.dumps(asdict(fact), ensure_ascii=False) for fact in facts]
    if not lines:
        raise InputError("there are no facts to save: expected at least one")
    write_bytes(path, ("[\n" + ",\n".join(lines) + "\n]\n").encode(), force=force)
