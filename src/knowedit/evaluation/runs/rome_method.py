"""ROME as a method of an evaluation: the statistics are read and factorised once a process."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch

from knowedit.editing.edit import Edit
from knowedit.editing.rome.rome import ROME
from knowedit.editing.statistics.files import load_second_moment
from knowedit.editing.statistics.second_moments import second_moment
from knowedit.evaluation.runs.methods import Prepared
from knowedit.facts import Fact
from knowedit.models import LanguageModel, tensor_digest


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
        layer = self.editor.resolve_layer(lm)
        moment = (
            load_second_moment(self.statistics, lm, layer) if self.statistics else second_moment(lm, layer)
        )
        factor = moment.factorise()

        def make(fact: Fact, generator: torch.Generator) -> Edit:
            return self.editor.edit(lm, [fact], generator=generator, statistics=factor)

        statistics = {"tokens": moment.count, "sha256": tensor_digest(torch.as_tensor(moment.raw_sum))}
        settings = asdict(self.editor) | {"editor": "ROME", "layer": layer, "statistics": statistics}
        return Prepared(make, settings)
