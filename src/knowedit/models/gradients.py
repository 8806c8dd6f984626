"""Gradients for what is searched, and for no weight of the model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from knowedit.models.language_model import LanguageModel


@contextmanager
def frozen(lm: LanguageModel) -> Iterator[None]:
    """Keep autograd from tracking the weights inside the ``with``; their flags are put back on any exit."""
    tracked = [parameter for parameter in lm.model.parameters() if parameter.requires_grad]
    for parameter in tracked:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in tracked:
            parameter.requires_grad_(True)
