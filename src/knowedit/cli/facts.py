"""``knowedit facts``: facts that a bundled model knows."""

from __future__ import annotations

import json
import sys
from typing import Any

from rich.table import Table

from knowedit.bundled import KNOWN_FACTS, bundled_models
from knowedit.cli.options import DEFAULT_MODEL, Json, Limit, Model
from knowedit.cli.output import console, print_json, safe


def facts(model: Model = DEFAULT_MODEL, limit: Limit = 10, as_json: Json = False) -> None:
    """Print the first facts of the list that comes with a bundled model."""
    content = (bundled_models()[model] / KNOWN_FACTS).read_text(encoding="utf-8")
    found: list[dict[str, Any]] = json.loads(content)[:limit]
    if as_json or not sys.stdout.isatty():
        print_json(found)
        return
    table = Table("subject", "relation", "prompt", "object", box=None)
    for fact in found:
        table.add_row(*(safe(fact[name]) for name in ("subject", "relation", "prompt", "target_true")))
    console.print(table)
