"""Edits that give one prompt two objects without one of them building on the other.

Each was made as if the other were not there. Added, neither object wins for sure: the two share the probability. An
edit that was made with the other one applied has taken it into account, and is no contradiction.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from knowedit.editing.edits.content import Content
from knowedit.editing.edits.provenance import COMBINED
from knowedit.errors import FileFormatError, InputError
from knowedit.facts import Fact

ADVICE = (
    "make the second one with the first applied (knowedit edit --edit FIRST, or inside first.applied(lm))"
)


class _Claim(NamedTuple):
    """What an edit, or a part of a combined one, says about a prompt; which digests it goes by, and what it is on."""

    object: str
    digest: str
    names: frozenset[str]
    below: frozenset[str]

    def against(self, other: _Claim) -> bool:
        apart = not (self.below & other.names or other.below & self.names)
        return apart and _plain(self.object) != _plain(other.object)


def contradictions(edits: Sequence[Content], *, of_last: bool = False) -> list[str]:
    """A sentence about each pair of edits that contradict each other; empty if none do.

    Prompts are compared with their subjects filled in, objects as they are, both without regard to white space.

    Args:
        edits: in the order in which they are applied.
        of_last: only pairs that the last one is in.
    """
    seen: dict[str, list[_Claim]] = {}
    found: dict[str, None] = {}
    for edit in edits:
        for text, claim in _claims(edit):
            earlier = seen.setdefault(_plain(text), [])
            if edit is edits[-1] or not of_last:
                found.update(dict.fromkeys(_said(text, one, claim) for one in earlier if claim.against(one)))
            earlier.append(claim)
    return list(found)


def check_consistent(edits: Sequence[Content]) -> None:
    """Refuse edits that contradict each other.

    Raises:
        InputError: naming the first two, their prompt and their objects.
    """
    if found := contradictions(edits):
        raise InputError(found[0])


def check_facts(facts: Sequence[Fact]) -> None:
    """Refuse facts for one edit that give a prompt two objects.

    Raises:
        InputError: naming the prompt and the objects.
    """
    objects: dict[str, str] = {}
    for fact in facts:
        first = objects.setdefault(_plain(fact.text), fact.target_new)
        if _plain(first) != _plain(fact.target_new):
            raise InputError(
                f"the facts give {fact.text!r} two objects, {first!r} and {fact.target_new!r}, expected one: leave "
                "one of them out"
            )


def _said(text: str, first: _Claim, second: _Claim) -> str:
    return (
        f"the edits {first.digest:.12} and {second.digest:.12} give {text!r} two objects, {first.object!r} and "
        f"{second.object!r}, and were made apart, so that neither holds for sure: {ADVICE}"
    )


def _claims(edit: Content) -> Iterator[tuple[str, _Claim]]:
    made = edit.provenance
    outer = {edit.digest, *([made.compressed_from] if made.compressed_from else [])}
    if made.editor != COMBINED:
        yield from _of(made.facts, edit.digest, outer, made.on_top_of)
        return
    try:
        parts = made.settings.get("parts", [])
        # A combined edit within it has its facts in its own parts; what was made on top of it names the whole.
        outer |= {part["digest"] for part in parts if part["editor"] == COMBINED}
        for part in parts:
            if part["editor"] != COMBINED:
                yield from _of_part(part, outer)
    except (KeyError, TypeError, AttributeError) as error:
        raise FileFormatError(
            f"the parts of the combined edit {edit.digest:.12} cannot be read ({error}): combine the edits again"
        ) from None


def _of_part(part: dict[str, Any], outer: set[str]) -> list[tuple[str, _Claim]]:
    facts = [Fact(**fact) for fact in part["facts"]]
    names = {part["digest"], *([part["compressed_from"]] if part.get("compressed_from") else [])}
    return _of(facts, part["digest"], names | outer, part["on_top_of"])


def _of(
    facts: Sequence[Fact], digest: str, names: set[str], below: Sequence[str]
) -> list[tuple[str, _Claim]]:
    return [
        (fact.text, _Claim(fact.target_new, digest, frozenset(names), frozenset(below))) for fact in facts
    ]


def _plain(text: str) -> str:
    return " ".join(text.split())
