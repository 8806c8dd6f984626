"""A model that no other thread can change inside the ``with``."""

from __future__ import annotations

from torch import nn

from knowedit.guards import Guard
from knowedit.models.overlays.holders import Holder
from knowedit.models.overlays.pile import set_held


class Held(Guard[None]):
    """Keeps what lies over a model as it is, for the thread or task that enters; holds inside each other add up.

    Args:
        model: the model.
        name: what for, as another thread that has to wait is told.
        wait: how many seconds to wait for a thread that holds it already.

    Raises:
        InputError: on entry, if another thread or task held the model all that time.
    """

    def __init__(self, model: nn.Module, name: str, *, wait: float = 60.0) -> None:
        self._model, self._name, self._wait = model, name, wait
        self.holder: Holder | None = None

    def begin(self) -> None:
        """Hold it."""
        self.holder = Holder.here(self._name)
        set_held(self._model, self.holder, True, wait=self._wait)

    def undo(self) -> None:
        """Let go of it."""
        if self.holder is not None:
            set_held(self._model, self.holder, False)
            self.holder = None
