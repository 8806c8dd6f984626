"""Who keeps a model as it is: a thread, or an asyncio task in it.

A hold is no lock beside the model but a note on it, which comes and goes as the overlays do. So nothing is left locked
when an exit runs in another thread than its entry, and a copy of the model is not held.
"""

from __future__ import annotations

import asyncio
from asyncio import Task
from dataclasses import dataclass
from threading import Thread, current_thread
from typing import Any


@dataclass(frozen=True, eq=False)
class Holder:
    """A thread, or a task that runs in it; one hold is one object, however many the thread has.

    Attributes:
        thread: the thread.
        task: the asyncio task, or None outside of one.
        name: what it holds the model for.
    """

    thread: Thread
    task: Task[Any] | None
    name: str

    @classmethod
    def here(cls, name: str = "") -> Holder:
        """The thread and task that run this."""
        try:
            task = asyncio.current_task()
        except RuntimeError:  # no event loop runs in this thread
            task = None
        return cls(current_thread(), task, name)

    def __str__(self) -> str:
        task = "" if self.task is None else f"the task {self.task.get_name()!r} in "
        return f"{task}the thread {self.thread.name!r} for {self.name}"

    def bars(self, other: Holder) -> bool:
        """Whether ``other`` has to wait for it; one that has ended holds nothing."""
        if self.thread is other.thread and self.task is other.task:
            return False
        return self.thread.is_alive() and (self.task is None or not self.task.done())
