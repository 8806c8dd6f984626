"""Small records in each form."""

from __future__ import annotations

import copy
from typing import Any

NESTED: dict[str, Any] = {
    "case_id": 7,
    "requested_rewrite": {
        "prompt": "{} plays the",
        "relation_id": "P1303",
        "target_new": {"str": "piano", "id": "Q5994"},
        "target_true": {"str": "trumpet", "id": "Q8338"},
        "subject": "Miles Davis",
    },
    "paraphrase_prompts": ["Miles Davis performs on the", "In Paris, Miles Davis plays the"],
    "neighborhood_prompts": ["Glenn Gould plays the", "Edmund Neupert plays the", "Marie Curie plays the"],
    "generation_prompts": ["Miles Davis"],
    "reference_texts": ["The piano."],
    "essence_texts": ["Miles Davis."],
}

COMPACT: dict[str, Any] = {
    "case_id": 2,
    "prompt": "Toko Yasuda, the",
    "target_new": "piano",
    "subject": "Toko Yasuda",
    "ground_truth": "guitar",
    "rephrase_prompt": "Toko Yasuda is incredible at",
    "locality_prompt": "John Lennon performs on the",
    "locality_ground_truth": "guitar",
    "split": "train",
}

FLAT: dict[str, Any] = {
    "prompt": "Toko Yasuda, the",
    "subject": " Toko Yasuda",
    "target_true": " guitar",
    "target_false": " piano",
    "relation_id": "P1303",
}


def nested(case_id: int) -> dict[str, Any]:
    """A record of its own number and subject."""
    return edited("requested_rewrite.subject", f"Subject {case_id}") | {"case_id": case_id}


def edited(place: str, value: object = None) -> dict[str, Any]:
    """`NESTED` with another value at a place such as ``requested_rewrite.subject``; without it where it is None."""
    found = copy.deepcopy(NESTED)
    *path, last = place.split(".")
    inner = found
    for name in path:
        inner = inner[name]
    if value is None:
        del inner[last]
    else:
        inner[last] = value
    return found
