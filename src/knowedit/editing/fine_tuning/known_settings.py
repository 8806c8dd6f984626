"""Which layer, ε and learning rate each way of fine-tuning has on which model: published, or found by a sweep."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from knowedit.bundled import NOTES, notes
from knowedit.models import LanguageModel
from knowedit.writing import write_bytes

FT: Final = "FT"
FT_L: Final = "FT+L"
ATTN_EDIT: Final = "AttnEdit"
PUBLISHED: Final[dict[tuple[str, str], tuple[int, float | None]]] = {
    (FT, "gpt2-xl"): (1, None),
    (FT, "gpt-j-6b"): (21, None),
    (FT_L, "gpt2-xl"): (0, 5e-4),
    (FT_L, "gpt-j-6b"): (0, 5e-5),
    (ATTN_EDIT, "gpt2-xl"): (33, 1e-3),
}
"""Layer and ε by method and model (Appendix D, Section 5.3, Appendix E); the paper has no AttnEdit for GPT-J."""
NOTE: Final = "fine_tuning"
"""The entry of a model's notes with its own settings by method, as ``knowedit sweep --keep`` writes them."""


def known_settings(lm: LanguageModel, method: str) -> dict[str, Any]:
    """Layer, ε and learning rate of a method on a model, as far as they are known.

    Raises:
        FileFormatError: the notes of the model's folder cannot be read.
    """
    noted = notes(lm.folder).get(NOTE) or {}
    if method in noted:
        return dict(noted[method])
    published = PUBLISHED.get((method, lm.name.rpartition("/")[2].lower()))
    return {} if published is None else dict(zip(("layer", "bound"), published, strict=True))


def keep_settings(folder: Path, found: Mapping[str, Mapping[str, Any]]) -> None:
    """Write settings into the notes of a model's folder; those of other methods, and all other notes, stay.

    Args:
        folder: the model's.
        found: layer, ε and learning rate by method.

    Raises:
        FileFormatError: the notes there are no JSON object.
    """
    known = notes(folder)
    content = known | {NOTE: {**(known.get(NOTE) or {}), **found}}
    write_bytes(
        folder / NOTES, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode(), force=True
    )
