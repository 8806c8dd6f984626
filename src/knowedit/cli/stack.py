"""Several edit files on one model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from knowedit.editing import Edit
    from knowedit.models import LanguageModel


def load_edits(files: Sequence[Path]) -> list[Edit]:
    """The edits in their order; a bad file is found before a model is opened."""
    from knowedit.editing import Edit

    return [Edit.load(file) for file in files]


@contextmanager
def stacked(lm: LanguageModel, edits: Sequence[Edit]) -> Iterator[None]:
    """All edits applied, the first given first."""
    with ExitStack() as stack:
        for edit in edits:
            stack.enter_context(edit.applied(lm))
        yield
