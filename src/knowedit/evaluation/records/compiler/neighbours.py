"""Neighbourhood prompts: about other subjects with the same (r, o_c), whose answer must stay (C.1)."""

from __future__ import annotations

import random
from collections.abc import Sequence

from knowedit.evaluation.records.compiler.table import FactTable, Triple
from knowedit.facts import fill

TOO_FEW = "fact: too few neighbourhood prompts"


def draw_neighbours(
    table: FactTable, fact: Triple, new: str, templates: Sequence[str], count: int, rng: random.Random
) -> list[str]:
    """Distinct prompts out of all templates filled with all neighbours, each with the same chance.

    A subject of which the new object is true as well is no neighbour: there, to say it is no mistake.

    Raises:
        ValueError: there are fewer than `count`; the message is the reason.
    """
    subject, relation, true = fact
    others = [
        name
        for name in table.subjects(relation, true)
        if name != subject and new not in table.objects(name, relation)
    ]
    if len(others) * len(templates) < count:
        raise ValueError(TOO_FEW)
    drawn = rng.sample(range(len(others) * len(templates)), count)
    pairs = [divmod(number, len(templates)) for number in drawn]
    return [fill(templates[template], others[name]) for name, template in pairs]
