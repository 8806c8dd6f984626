"""A name that is to be written, and what stands beside it until it is.

What is written is called ``.NAME.<16 digits>.tmp`` beside its target until it is on the disk, and is locked (flock)
until then. So the leavings of a process that was killed can be told from what another one is writing at this moment:
the next who writes under that name removes the former and leaves the latter.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from knowedit.errors import InputError

try:
    import fcntl
except ImportError:  # Windows, which removes no file that is open: there nothing more is needed
    fcntl = None  # type: ignore[assignment]

_LOCKS: Final[Any] = fcntl

LEFTOVER: Final = re.compile(r"\..+\.[0-9a-f]{16}\.(tmp|old)")
"""Names of what is not in its place yet, and of folders that were moved aside."""


class Place:
    """The place of a file or folder.

    Args:
        path: its name; its folder must exist.

    Raises:
        InputError: it has no name, or there is no such folder.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.target = Path(path)
        if not self.target.name or "\0" in str(self.target):
            raise InputError(f"{str(path)!r} names no file: give a path that ends with a name")
        if not self.target.parent.is_dir():
            raise InputError(
                f"the folder {self.target.parent} does not exist; expected a folder to save in; create it"
            )

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Turn what the system says in the block into an `InputError`."""
        try:
            yield
        except OSError as error:
            reason = error.strerror or str(error)
            raise InputError(
                f"{self.target} cannot be written ({reason}): make room, or give another path"
            ) from None

    @property
    def taken(self) -> InputError:
        """The error where something is there."""
        return InputError(
            f"{self.target} exists already: give another name, or --force (force=True) to replace it"
        )

    def unused(self, suffix: str) -> Path:
        """A name beside it that nobody has."""
        return self.target.with_name(f".{self.target.name}.{secrets.token_hex(8)}.{suffix}")

    def leftovers(self, suffix: str) -> list[Path]:
        """What stands beside it under such names, whoever wrote it."""
        name, found = self.target.name, []
        with suppress(OSError):
            found = sorted(self.target.parent.glob(f".*.{suffix}"))
        return [
            one for one in found if re.fullmatch(rf"\.{re.escape(name)}\.[0-9a-f]{{16}}\.{suffix}", one.name)
        ]

    def clean(self) -> None:
        """Remove what processes that were killed left half written; what is being written stays."""
        for path in self.leftovers("tmp"):
            with suppress(OSError):  # it is locked by whoever writes it, or cannot be locked here
                _remove_if_abandoned(path)


def locked(number: int, path: Path) -> bool:
    """Lock what is open there; whether it is ours now, and still in its place."""
    if _LOCKS is None:
        return True
    try:
        _LOCKS.flock(number, _LOCKS.LOCK_EX | _LOCKS.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True  # a file system without locks; nothing is taken for a leftover there either
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(number), path.stat())
    return False


def _remove_if_abandoned(path: Path) -> None:
    if _LOCKS is None:
        _remove(path)
        return
    number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        _LOCKS.flock(number, _LOCKS.LOCK_EX | _LOCKS.LOCK_NB)
        _remove(path)
    finally:
        os.close(number)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
