"""A forward pass that ends as soon as everything that was asked for has been seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import Tensor

from knowedit.errors import InputError
from knowedit.models.forwards import forward
from knowedit.models.hooks import Change, Site, hooked

if TYPE_CHECKING:
    from knowedit.models.batches import Batch
    from knowedit.models.language_model import LanguageModel

Visitor: TypeAlias = Callable[[Tensor], None]


class _Seen(Exception):
    """Leaves a forward from inside; never seen outside this module."""


@torch.no_grad()
def visit(lm: LanguageModel, data: Batch, visitors: Mapping[Site, Visitor]) -> None:
    """Run the model until every site was reached, and show each visitor the tensor at its site.

    Nothing after the last site runs: no later block, no head, and for a site at the input of a module not
    that module. An exception ends the forward, so this holds for every family, whatever order it runs its
    parts in. The tensor is the model's own: a visitor must not write into it.

    Args:
        lm: the model.
        data: what it runs on.
        visitors: a function for each site, called with ``(rows, tokens, width)``, padding included.

    Raises:
        InputError: no site, no such site, or a site that this forward does not reach.
    """
    if not visitors:
        raise InputError("there is no site to visit: give at least one")
    waiting = set(visitors)

    def look(site: Site) -> Change:
        def change(value: Tensor) -> Tensor:
            visitors[site](value)
            waiting.discard(site)
            if not waiting:
                raise _Seen
            return value

        return change

    with ExitStack() as stack:
        for site in visitors:
            stack.enter_context(hooked(lm, site, look(site)))
        try:
            forward(lm, data, data.last)
        except _Seen:
            return
    raise InputError(f"the forward of {lm.name} never reached {sorted(map(str, waiting))}: check the anatomy")
