"""What every editor offers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch

from knowedit.editing.edit import Edit
from knowedit.facts import Fact
from knowedit.models import LanguageModel


class Editor(Protocol):
    """A frozen dataclass whose fields are its settings; it computes edits and never changes a model."""

    def edit(
        self, lm: LanguageModel, facts: Sequence[Fact], *, generator: torch.Generator | None = None
    ) -> Edit:
        """Compute the edit of one or more facts."""
        ...

    def resolve_layer(self, lm: LanguageModel) -> int:
        """The layer that will be edited."""
        ...
