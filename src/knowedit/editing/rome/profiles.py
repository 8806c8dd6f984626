"""The numbers of ROME's named settings; `SOURCES` has the source of each.

No public code has the settings of the paper's text. Where the text leaves a choice open, or the code that was
released later does something else, the choice has a name here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from knowedit.editing.rome.prefixes import PrefixPlan

_PAPER: Final[Mapping[str, Any]] = {
    "learning_rate": 0.5,
    "max_steps": 25,
    "stop_loss": 5e-2,
    "target": "joint",
    "weight_decay": 1.5e-3,
    "decay": "adam",
    "kl_factor": 1e2,
    "kl_reduction": "mean",
    "kl_prompt": "{} is a",
    "kl_position": "end",
    "max_offset": None,
    "prefixed": False,
    "known_layers": (("gpt2-xl", 15), ("gpt-j-6b", 15)),
    "prefixes": PrefixPlan(),
    "key_text": "subject",
    "constraint_key": "average",
    "max_update": None,
}
_FEBRUARY: Final[Mapping[str, Any]] = {
    **_PAPER,
    "known_layers": (("gpt2-xl", 16), ("gpt-j-6b", 5)),
    "max_steps": 20,
    "target": "first",
    "kl_factor": 5e2,
    "prefixes": PrefixPlan(start="The", count_start=True, top_k=5, empty=True),
    "constraint_key": "prompt",
    "max_update": 100.0,
}
_OCTOBER: Final[Mapping[str, Any]] = {
    **_PAPER,
    "known_layers": (("gpt2-xl", 17), ("gpt-j-6b", 5)),
    "max_steps": 19,
    "target": "mean",
    "weight_decay": 0.5,
    "decay": "relative",
    "kl_factor": 0.0625,
    "kl_reduction": "sum",
    "kl_position": "subject",
    "max_offset": 4.0,
    "prefixed": True,
    "prefixes": PrefixPlan(((10, 5), (10, 10)), count_start=True, top_k=5, empty=True, separator=". "),
    "key_text": "prompt",
    "constraint_key": "prompt",
}

NUMBERS: Final[Mapping[str, Mapping[str, Any]]] = {
    "paper": _PAPER,
    "paper-literal-kl": {**_PAPER, "kl_reduction": "sum"},
    "released-2022-02": _FEBRUARY,
    "released-2022-02-gpt-j": {**_FEBRUARY, "kl_factor": 1e3, "weight_decay": 2e-3},
    "released-2022-10": _OCTOBER,
    "consistent-keys": {**_OCTOBER, "constraint_key": "average"},
    "both-keys": {**_PAPER, "constraint_key": "both"},
}
"""Name of a profile, then the fields of `ROME`; the paper's are its defaults. They are read without torch."""
