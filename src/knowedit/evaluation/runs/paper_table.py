"""The rows of Table 2 as the paper has them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from knowedit.errors import InputError
from knowedit.evaluation.runs.tables import Row
from knowedit.intervals import Interval

PAPER: Final = Path(__file__).with_name("paper_table2.json")


def paper_rows(model: str) -> list[Row]:
    """The rows of Table 2 in the paper.

    Args:
        model: ``gpt2-xl`` or ``gpt-j``.

    Raises:
        InputError: another one.
    """
    models = json.loads(PAPER.read_text(encoding="utf-8"))["models"]
    if model not in models:
        raise InputError(f"the paper has no rows of {model!r}: use one of {', '.join(models)}")
    told = models[model]
    return [
        Row(
            method,
            f"{told['name']} (paper)",
            {key: _told(*pair, n=told["records"]) for key, pair in columns.items()},
            told["records"],
            group=f"paper {model}",
        )
        for method, columns in told["rows"].items()
    ]


def _told(mean: float, half: float, *, n: int) -> Interval:
    return Interval(mean, mean - half, mean + half, n)
