"""Several edits on one model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from knowedit.editing import Edit
    from knowedit.models import LanguageModel


@contextmanager
def stacked(lm: LanguageModel, edits: Sequence[Edit]) -> Iterator[None]:
    """All edits applied inside the ``with``, the first given first."""
    with ExitStack() as stack:
        for edit in edits:
            stack.enter_context(edit.applied(lm))
        yield
