"""Folders that appear whole or not at all, and replace nothing but an earlier one of their kind."""

from __future__ import annotations

import errno
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from knowedit.errors import InputError
from knowedit.writing.files import PathLike
from knowedit.writing.places import Place, locked

PATIENCE: Final = 10.0
"""Seconds to wait for another process to put a folder in its place, which takes it milliseconds."""


def check_folder(path: PathLike, mark: str, title: str, *, force: bool = False) -> None:
    """Refuse, before any work, a folder that could not, or should not, be written with `new_folder`.

    Where a process was killed after it moved the old folder aside, and before the new one was in its place, the old
    one is back afterwards.

    Raises:
        InputError: see `new_folder`.
    """
    place = Place(Path(path).resolve())
    target = place.target
    place.clean()
    _put_back(place, mark)
    if not os.path.lexists(target) or (target.is_dir() and not any(target.iterdir())):
        return
    if not (target / mark).is_file():
        raise InputError(f"{target} exists and is no earlier {title}: give a new or empty folder")
    if not force:
        raise InputError(
            f"{target} holds an earlier {title}: give another folder, or --force (force=True) to replace it"
        )
    listed = _listed(target / mark)
    if listed and (others := sorted({one.name for one in target.iterdir()} - listed)):
        raise InputError(
            f"{target} also holds {others[0]}, which is no part of it: move it away, or give another folder"
        )


@contextmanager
def new_folder(path: PathLike, mark: str, title: str, *, force: bool = False) -> Iterator[Path]:
    """A folder that appears under its name when the block ends well, and not at all after an error.

    Args:
        path: its name; its parent must exist. It may exist if it is empty.
        mark: a file of every such folder, by which an earlier one is known. If it is a JSON object with ``files``, a
            folder that holds others is not replaced.
        title: what such a folder is called in errors.
        force: put it in the place of an earlier one.

    Raises:
        InputError: no such parent, a full disk, or the folder holds something that is not to be replaced.
    """
    check_folder(path, mark, title, force=force)
    place = Place(Path(path).resolve())
    with place.writing():
        temporary, number = _temporary(place)
        try:
            yield temporary
            _settle(temporary)
            with _alone_in(place.target.parent):
                _put(temporary, place, mark, force=force)
        finally:
            os.close(number)
            shutil.rmtree(temporary, ignore_errors=True)


def _listed(mark: Path) -> set[str]:
    """The files that were written into a folder, as far as it says."""
    try:
        return {str(name) for name in json.loads(mark.read_bytes())["files"]} | {mark.name}
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return set()


def _temporary(place: Place) -> tuple[Path, int]:
    """A folder beside the target, open and locked."""
    while True:
        path = place.unused("tmp")
        path.mkdir()
        with suppress(FileNotFoundError):
            number = os.open(os.devnull if os.name == "nt" else path, os.O_RDONLY)
            if locked(number, path):
                return path, number
            os.close(number)


def _settle(folder: Path) -> None:
    """Give the files the modes that new files have here, and flush them: libraries do neither."""
    mode = folder.stat().st_mode & 0o666
    for path in folder.rglob("*"):
        if path.is_file():
            path.chmod(mode)
            with path.open("rb+") as stream:
                os.fsync(stream.fileno())


def _put(temporary: Path, place: Place, mark: str, *, force: bool) -> None:
    """Rename; an earlier one is moved aside first, and put back if that fails."""
    target = place.target
    if not (force and (target / mark).is_file()):
        try:
            temporary.rename(target)
        except OSError as error:
            raise place.taken if error.errno in (errno.ENOTEMPTY, errno.EEXIST) else error from None
        return
    aside = place.unused("old")
    target.rename(aside)
    try:
        temporary.rename(target)
    except BaseException:
        aside.rename(target)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _put_back(place: Place, mark: str) -> None:
    asides = place.leftovers("old")
    if not asides:
        return
    with _alone_in(place.target.parent), suppress(OSError):
        for path in asides:
            if place.target.exists():
                shutil.rmtree(path, ignore_errors=True)
            elif (path / mark).is_file():
                path.rename(place.target)


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """One process at a time puts folders in their places here."""
    if os.name == "nt":  # where a folder cannot be opened
        yield
        return
    number, end = os.open(folder, os.O_RDONLY), time.monotonic() + PATIENCE
    try:
        while not locked(number, folder) and time.monotonic() < end:
            time.sleep(0.01)
        yield
    finally:
        os.close(number)
