"""Put an edit on a model and take it off: what has to be so before, and nothing in between."""

from __future__ import annotations

import warnings

from knowedit.editing.edits.content import Check, Content
from knowedit.editing.edits.contradictions import contradictions
from knowedit.errors import InputError
from knowedit.models import LanguageModel
from knowedit.models.overlays import Overlay, change_overlays, overlays_on
from knowedit.models.overlays.holders import Holder


def put_on(edit: Content, lm: LanguageModel, overlay: Overlay, check: Check) -> None:
    """Put it over the model, all of it or nothing.

    An edit that contradicts another one on the model is applied, with a warning.

    Raises:
        KnoweditError: as `Edit.apply` lists them.
    """

    def added(below: tuple[Overlay, ...]) -> tuple[Overlay, ...]:
        _check_stack(lm, edit, below)
        return (*below, overlay)

    edit.check_base(lm, check=check)
    below = [overlay.source for overlay in overlays_on(lm.model)]
    for text in contradictions([*below, edit], of_last=True):  # of the others when they were applied
        warnings.warn(text, stacklevel=3)
    change_overlays(lm.model, added)


def take_off(lm: LanguageModel, overlay: Overlay, *, of: Holder | None = None, wait: float = 60.0) -> bool:
    """Take it off the model, whatever lies above it; False if it is not there.

    Args:
        lm: the model.
        overlay: what `put_on` put there.
        of: on whose behalf, see `change_overlays`.
        wait: how many seconds to wait for another thread that holds the model.

    Raises:
        KnoweditError: as `Handle.remove` lists them.
    """
    if overlay not in overlays_on(lm.model):
        return False
    change_overlays(lm.model, lambda all_: [o for o in all_ if o is not overlay], of=of, wait=wait)
    return True


def _check_stack(lm: LanguageModel, edit: Content, below: tuple[Overlay, ...]) -> None:
    applied: set[str] = set().union(*(overlay.source.contained for overlay in below))
    twice = [digest for digest in edit.contained if digest in applied]
    if twice:
        raise InputError(
            f"the edit {twice[0]:.12} is applied to {lm.name} already: applied twice it would overshoot, "
            "use the handle that the first apply returned"
        )
    missing = [f"{digest:.12}" for digest in edit.provenance.on_top_of if digest not in applied]
    if missing:
        raise InputError(
            f"the edit {edit.digest:.12} was computed on top of {', '.join(missing)}, not applied to {lm.name}: "
            "apply first, in this order, the edit files whose digests begin so (knowedit inspect shows them)"
        )
