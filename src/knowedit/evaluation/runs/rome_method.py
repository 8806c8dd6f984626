"""ROME as a method of an evaluation: the statistics are read and factorised once a process."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from knowedit.editing.edit import Edit
from knowedit.editing.editor import settings_of
from knowedit.editing.rome.rome import ROME
from knowedit.evaluation.runs.methods import Prepared
from knowedit.facts import Fact
from knowedit.models import LanguageModel


@dataclass(frozen=True)
class RomeMethod:
    """ROME with its settings.

    Attributes:
        editor: the settings.
        statistics: a file of key statistics; by default those of the model's folder.
        label: what a table calls it.
    """

    editor: ROME = field(default_factory=ROME.paper)
    statistics: Path | None = None
    label: str = "ROME"
    sources: tuple[str, ...] = (ROME.__module__, __name__)

    def prepare(self, lm: LanguageModel) -> Prepared:
        """Find the layer, read its statistics and factorise them.

        Raises:
            InputError: no layer is known, or no statistics of it.
            SingularError: statistics of less than full rank.
        """
        editor = replace(self.editor, statistics=self.statistics).prepared(lm)

        def make(fact: Fact, generator: torch.Generator) -> Edit:
            return editor.edit(lm, [fact], generator=generator)

        return Prepared(make, settings_of(editor))
