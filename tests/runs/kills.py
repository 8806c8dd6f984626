"""Work that is killed by the system in the middle of a write."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable


def kill_at(work: Callable[[], object], size: int) -> bool:
    """Do the work in a process of its own, which is killed once it has written so many bytes of lines.

    Returns whether it was killed; else it came to the end.
    """
    child = os.fork()
    if child:
        return os.WIFSIGNALED(os.waitpid(child, 0)[1])
    left, real = size, os.write

    def write(number, data):
        nonlocal left
        if len(data) >= left:
            real(number, bytes(data)[:left])
            os.kill(os.getpid(), signal.SIGKILL)
        left -= len(data)
        return real(number, data)

    os.write = write
    try:
        work()
    finally:
        os._exit(0)
