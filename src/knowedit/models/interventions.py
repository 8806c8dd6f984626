"""Look at, or replace, tensors inside a forward pass."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from torch import Tensor

from knowedit.errors import InputError
from knowedit.models.hooks import Change, Site, hooked

if TYPE_CHECKING:
    from knowedit.models.language_model import LanguageModel


@contextmanager
def intervene(lm: LanguageModel, changes: Mapping[Site, Change]) -> Iterator[None]:
    """Replace tensors in every forward pass inside the ``with``, replays included.

    Args:
        lm: the model.
        changes: for each site a function that gets the tensor ``(rows, tokens, width)``, a copy of which
            it may write into, and returns the tensor to go on with. Interventions inside each other work
            in the order in which they were entered.

    Raises:
        InputError: no such site; later, in the forward, a function that returns no tensor of the same
            shape, dtype and device. The hooks are gone after any exit.
    """
    with ExitStack() as stack:
        for site, function in changes.items():
            stack.enter_context(hooked(lm, site, _checked(site, function)))
        yield


def _checked(site: Site, function: Change) -> Change:
    def change(value: Tensor) -> Tensor:
        # A copy: writing into the original would also change what was captured or recorded before.
        new = function(value.clone())
        if not isinstance(new, Tensor) or _kind(new) != _kind(value):
            found = _kind(new) if isinstance(new, Tensor) else type(new).__name__
            raise InputError(
                f"the function at {site} returned {found}, expected {_kind(value)}: return the tensor"
            )
        return new

    return change


def _kind(value: Tensor) -> str:
    return f"a {value.dtype} tensor of shape {tuple(value.shape)} on {value.device}"


@contextmanager
def capture(lm: LanguageModel, sites: Iterable[Site]) -> Iterator[dict[Site, Tensor]]:
    """Collect tensors from the forward passes inside the ``with``.

    The dictionary fills during a forward and keeps the latest one's tensors ``(rows, tokens, width)``, with
    their gradient graph if the forward has one. It shows what earlier entered interventions have made.

    Raises:
        InputError: no such site.
    """
    found: dict[Site, Tensor] = {}

    def keep(site: Site) -> Change:
        def look(value: Tensor) -> Tensor:
            found[site] = value
            return value

        return look

    with ExitStack() as stack:
        for site in sites:
            stack.enter_context(hooked(lm, site, keep(site)))
        yield found
