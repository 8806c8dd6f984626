"""Templates up to the object: an edit needs the object to be what comes next."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from knowedit.evaluation.records.compiler.table import Skipped
from knowedit.facts import SLOT

SUBJECT, OBJECT = "[X]", "[Y]"
AFTER_OBJECT = " .,"
"""What may follow the object: it is cut off with it."""
NEEDED = 3
"""Templates of a relation: one for the request, two for the paraphrases."""

NOT_LAST = "template: the object is not last"
SLOTS = "template: not one subject and one object"
BRACES = "template: it has braces"
SAME = "template: the same as another without its end"
TOO_FEW = "relation: fewer than three templates"


def _cut(pattern: str) -> str:
    """ParaRel's ``[X] plays the [Y].`` as the prompt ``{} plays the``.

    Raises:
        ValueError: the object is not last, or a slot is missing or there twice; the message is the reason.
    """
    if set("{}") & set(pattern):
        raise ValueError(BRACES)
    if pattern.count(SUBJECT) != 1 or pattern.count(OBJECT) != 1:
        raise ValueError(SLOTS)
    before, after = pattern.split(OBJECT)
    if after.strip(AFTER_OBJECT):
        raise ValueError(NOT_LAST)
    return before.replace(SUBJECT, SLOT).rstrip()


def usable_templates(
    patterns: Mapping[str, Iterable[str]], skipped: Skipped, needed: int = NEEDED
) -> dict[str, list[str]]:
    """The distinct prompts of each relation that has enough of them.

    Args:
        patterns: relation to its templates, in ParaRel's form.
        skipped: takes what is left out, by reason.
        needed: the least number of prompts a relation must have.
    """
    found = {relation: _of_relation(relation, given, skipped) for relation, given in patterns.items()}
    for relation in [name for name, prompts in found.items() if len(prompts) < needed]:
        skipped[TOO_FEW].append(relation)
        del found[relation]
    return found


def _of_relation(relation: str, patterns: Iterable[str], skipped: Skipped) -> list[str]:
    prompts: list[str] = []
    for pattern in patterns:
        try:
            prompt = _cut(pattern)
        except ValueError as error:
            skipped[str(error)].append(f"{relation}: {pattern}")
            continue
        if prompt in prompts:
            skipped[SAME].append(f"{relation}: {pattern}")
        else:
            prompts.append(prompt)
    return prompts
