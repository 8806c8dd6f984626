"""An interrupt at the n-th instruction of a piece of code, whichever that is."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class Interrupter:
    """Raises an exception before the n-th instruction that runs in certain files.

    Python looks for interrupts after calls, at jumps back and at the start of a function. An instruction later is as
    good as those, and all instructions are more than those.
    """

    def __init__(
        self, at: int, files: tuple[str, ...], error: type[BaseException] = KeyboardInterrupt
    ) -> None:
        self.at, self.files, self.error = at, files, error
        self.seen = 0
        self.where: list[str] = []

    def __enter__(self) -> Interrupter:
        sys.settrace(self._called)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)

    def _called(self, frame: FrameType, event: str, _argument: Any) -> Callable[..., Any] | None:
        name = frame.f_code.co_filename
        if name == __file__ or not any(part in name for part in self.files):
            return None
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        return self._step(frame, event, None)

    def _step(self, frame: FrameType, event: str, _argument: Any) -> Callable[..., Any]:
        if event in ("call", "opcode"):
            self.seen += 1
            if self.seen == self.at:
                self.where.append(
                    f"{frame.f_code.co_filename}:{frame.f_lineno} {frame.f_code.co_name} {event}"
                )
                raise self.error
        return self._step


@contextmanager
def alarms(action: Callable[[], object], count: int) -> Iterator[Callable[[float, float], None]]:
    """Real signals that interrupt ``action`` and nothing else; what is given starts ``count`` of them."""
    gaps: list[float] = []

    def ring(_signal: int, frame: FrameType | None) -> None:
        if gaps:
            signal.setitimer(signal.ITIMER_REAL, gaps.pop())
        while frame is not None:
            if frame.f_code is action.__code__:
                raise KeyboardInterrupt
            frame = frame.f_back

    def start(first: float, gap: float) -> None:
        gaps[:] = [gap] * (count - 1)
        signal.setitimer(signal.ITIMER_REAL, first)

    before = signal.signal(signal.SIGALRM, ring)
    try:
        yield start
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
