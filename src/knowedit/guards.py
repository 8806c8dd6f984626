"""Context managers that undo what they did on every way out of a ``with``, an interrupt at any instruction included.

Python calls ``__exit__`` as it calls any function. An interrupt (Ctrl-C) in the instant before its first line keeps it
from running, and one in the last instant of ``__enter__`` keeps it from being called; `contextlib` has both gaps.
But a ``with`` asks for ``__exit__`` before it enters, and lets go of what it got whichever way it is left. What it
gets here is an object made for it alone. If that goes away before the undoing is done, the undoing is done then.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar
from weakref import ref

from knowedit.errors import KnoweditError

T = TypeVar("T")

ATTEMPTS: Final = 4
"""How often the last undoing begins anew when it is interrupted itself: by so many Ctrl-C in a row."""


class _Exit:
    """``__exit__`` of a `Guard`: what a ``with`` holds until it is left."""

    def __get__(self, guard: Guard[Any] | None, owner: type[Guard[Any]]) -> Any:
        if guard is None:  # as contextlib.ExitStack asks, which hands the guard over in the call
            return owner._leave
        if guard._watch is not None:  # a with has it already
            return guard._leave
        # A traceback keeps the guard, but not this object: only the with does.
        held = partial(owner._leave, guard)
        guard._watch = [ref(held, guard._let_go) for _ in range(ATTEMPTS)]
        return held


class Guard(ABC, Generic[T]):
    """A context manager that is safe under interrupts; a subclass says what to do and how to undo it."""

    _watch: list[ref[Any]] | None = None
    _entered = False

    @abstractmethod
    def begin(self) -> T:
        """Do it, and return what the ``with`` gives. It may be left at any instruction."""

    @abstractmethod
    def undo(self) -> None:
        """Undo what there is to undo: nothing if `begin` was left early, or if this ran before."""

    def __enter__(self) -> T:
        self._entered = True
        return self.begin()

    if TYPE_CHECKING:

        def __exit__(
            self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
        ) -> None: ...
    else:
        __exit__ = _Exit()

    def _leave(self, *_error: object) -> None:
        try:
            self.undo()
        except KnoweditError:  # refused, so it would be again; anything else came from outside
            self._settle()
            raise
        self._settle()

    def _settle(self) -> None:
        self._entered, self._watch = False, None

    def _let_go(self, _gone: object) -> None:
        # It cannot raise: Python reports an error here and goes on to the next attempt.
        if self._entered:
            self.undo()
        self._settle()
