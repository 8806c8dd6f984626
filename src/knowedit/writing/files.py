"""Files that appear whole or not at all, and replace nothing unless they are told to."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from knowedit.writing.places import Place, locked

PathLike = str | os.PathLike[str]


def write_bytes(path: PathLike, *parts: bytes | memoryview, force: bool = False) -> None:
    """Write a file atomically: afterwards it is there whole, or as it was.

    Args:
        path: the file; its folder must exist.
        parts: its content.
        force: replace a file that is there.

    Raises:
        InputError: see `new_file`.
    """
    with new_file(path, force=force) as stream:
        for part in parts:
            stream.write(part)


@contextmanager
def new_file(path: PathLike, *, force: bool = False) -> Iterator[BinaryIO]:
    """A stream whose content is put under `path`, flushed to the disk, when the block ends well.

    Args:
        path: the file; its folder must exist.
        force: replace a file that is there. Without it the last step replaces nothing either: of two who write at
            the same time, one is refused.

    Raises:
        InputError: no such folder, a full disk, or a file that is there.
    """
    place = Place(path)
    with place.writing():
        place.clean()
        temporary, stream = _temporary(place)
        try:
            with stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
                if os.name == "nt":
                    stream.close()  # Windows renames no file that is open
                _put(temporary, place, force=force)
        finally:
            temporary.unlink(missing_ok=True)


def _temporary(place: Place) -> tuple[Path, BinaryIO]:
    """A file beside the target, open and locked."""
    while True:
        path = place.unused("tmp")
        stream = path.open("xb")
        if locked(stream.fileno(), path):
            return path, stream
        stream.close()  # somebody took it for a leftover before it was locked


def _put(temporary: Path, place: Place, *, force: bool) -> None:
    if force:
        temporary.replace(place.target)
        return
    try:
        os.link(temporary, place.target)  # unlike a rename, it never replaces
    except FileExistsError:
        raise place.taken from None
    except OSError:  # a file system without hard links
        try:
            place.target.open("xb").close()
        except FileExistsError:
            raise place.taken from None
        temporary.replace(place.target)
