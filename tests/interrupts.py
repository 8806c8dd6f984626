"""Interrupts at chosen places, and real ones at chosen times."""

from __future__ import annotations

import dis
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from types import CodeType, FrameType
from typing import Any

LOOKS = ("RESUME", "CALL", "CALL_FUNCTION_EX", "CALL_KW", "JUMP_BACKWARD")
"""After these instructions Python looks whether there is an interrupt, and after no other."""


class Interrupter:
    """Raises an exception at the n-th of the places in certain files where Python would raise a KeyboardInterrupt.

    Elsewhere it could do harm that no interrupt does: between the body of a ``with lock:`` and the call that lets go of
    the lock Python does not look.
    """

    def __init__(
        self, at: int, files: tuple[str, ...], error: type[BaseException] = KeyboardInterrupt
    ) -> None:
        self.at, self.files, self.error = at, files, error
        self.seen = 0
        self.where: list[str] = []
        self._before: dict[FrameType, str] = {}

    def __enter__(self) -> Interrupter:
        sys.settrace(self._called)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)
        self._before.clear()

    def _called(self, frame: FrameType, event: str, _argument: Any) -> Callable[..., Any] | None:
        name = frame.f_code.co_filename
        if name == __file__ or not any(part in name for part in self.files):
            return None
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        return self._step(frame, event, None)

    def _step(self, frame: FrameType, event: str, _argument: Any) -> Callable[..., Any]:
        if event in ("call", "opcode"):
            looks = event == "call" or self._before.get(frame) in LOOKS
            self._before[frame] = _name(frame)
            self.seen += looks
            if looks and self.seen == self.at:
                self.where.append(
                    f"{frame.f_code.co_filename}:{frame.f_lineno} {frame.f_code.co_name} {event}"
                )
                raise self.error
        elif event == "return":
            self._before.pop(frame, None)
        return self._step


def _name(frame: FrameType) -> str:
    return _names(frame.f_code)[frame.f_lasti]


@cache
def _names(code: CodeType) -> dict[int, str]:
    return {one.offset: one.opname for one in dis.get_instructions(code)}


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
