"""The models that ship inside the package, found by name without importing what made them."""

from __future__ import annotations

from pathlib import Path

DATA = Path(__file__).parent / "data"


def bundled_models() -> dict[str, Path]:
    """Name and folder of every bundled model, in alphabetical order."""
    return {path.parent.name: path.parent for path in sorted(DATA.glob("*/config.json"))}
