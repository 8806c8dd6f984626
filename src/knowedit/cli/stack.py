"""Several edits on one model."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from knowedit.cli.output import console, print_warnings, safe, stderr

if TYPE_CHECKING:
    from knowedit.editing import Edit, StackReport
    from knowedit.models import LanguageModel


@contextmanager
def stacked(lm: LanguageModel, edits: Sequence[Edit], *, told: bool = False) -> Iterator[None]:
    """All edits applied inside the ``with``, the first given first; those that contradict each other are named.

    Args:
        lm: the model.
        edits: any number.
        told: whether what contradicts is told otherwise.
    """
    from knowedit.editing import contradictions

    if not told:
        print_warnings(contradictions(edits), to=stderr)
    with ExitStack() as stack:
        for edit in edits:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # told above, in a line of ours
                stack.enter_context(edit.applied(lm))
        yield


def print_report(report: StackReport) -> None:
    """A stack's figures and warnings."""
    console.print(f"[bold]the stack of {len(report.edits)} edits[/]")
    for line in report.lines():
        console.print(f"  {safe(line)}")
    print_warnings(report.warnings())
