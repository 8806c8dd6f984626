"""The new object o*: drawn among all objects of the relation, each as often as facts have it (C.1)."""

from __future__ import annotations

import random

from knowedit.evaluation.records.compiler.table import FactTable

NO_OTHER = "fact: the relation has no other object"


def draw_target(table: FactTable, subject: str, relation: str, rng: random.Random) -> str:
    """An object that is not true of the subject, with the weight of the number of facts that have it.

    Raises:
        ValueError: there is none; the message is the reason.
    """
    true = {thing.strip() for thing in table.objects(subject, relation)}
    others = {thing: n for thing, n in table.weights(relation).items() if thing.strip() not in true}
    if not others:
        raise ValueError(NO_OTHER)
    return rng.choices(list(others), list(others.values()))[0]
