"""The folder of a run that can be stopped and resumed: a manifest, sealed lines and a lock.

``manifest.json`` identifies the run; it is written atomically. The lines are only appended to; what one holds is on
the disk (fsync) before it counts as done. Whoever writes holds a lock, which the system gives back however the
process ends.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from knowedit.errors import InputError
from knowedit.runs.held import HeldFolder
from knowedit.runs.lines import read_lines, sealed
from knowedit.runs.manifest import MANIFEST, differences, read_manifest, write_manifest
from knowedit.writing import LEFTOVER

RECORDS: Final = "records.jsonl"
ADVICE: Final = "restore the file, or cut it off before that line to have the rest measured again"


class RunFolder(HeldFolder):
    """A run's folder, held for writing while in its ``with``.

    Args:
        path: the folder; made if it is not there, and removed again if no run was begun in it.
        kind: names the kind of run in the manifest.
        schema: of the manifest and the lines; above 1.
        title: what the run is called in errors, with its article.
        lines: the file of lines; it is there from the first line on.
        advice: what to do about a line that is not as it was written.

    Raises:
        InputError: it cannot be made or written, holds something else and no manifest, or another process holds it.
    """

    def __init__(
        self,
        path: Path,
        kind: str,
        schema: int,
        title: str,
        *,
        lines: str = RECORDS,
        advice: str = ADVICE,
    ):
        super().__init__(path, MANIFEST)
        self.manifest: dict[str, Any] = {}
        self._kind, self._schema, self._title, self._advice = kind, schema, title, advice
        self._lines = path / lines
        self._number: int | None = None
        self._count = 0

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._number is not None:
            os.close(self._number)
            self._number = None
        super().__exit__(kind, error, trace)

    def begin(
        self, identity: Mapping[str, Any], names: Mapping[str, Any] | None = None, **entries: Any
    ) -> list[dict[str, Any]]:
        """Write the manifest, or find that of the same run; cut off an unfinished line.

        Args:
            identity: what makes this run this run, as JSON; compared with what is there.
            names: what things are called; not compared.
            entries: more of a new manifest; not compared.

        Returns:
            The contents of the lines that are there. `manifest` then holds the manifest.

        Raises:
            InputError: the folder belongs to another run, with every difference; or the run was condemned.
            FileFormatError: the manifest or a line is not as it was written.
        """
        found = read_manifest(self.path, self._kind, (self._schema,), self._title)
        if found is None:
            self.manifest = {"kind": self._kind, "schema": self._schema, "names": dict(names or {})}
            self.update(run=dict(identity), **entries)
        elif listed := differences(found["run"], identity):
            raise InputError(
                f"{self.path} belongs to another run: {listed}; ask for the same to resume it, or give another folder"
            )
        else:
            self.manifest = found
        contents, end = read_lines(self._lines, self._advice)
        self._clean(end)
        self._count = len(contents)
        return contents

    def _clean(self, end: int) -> None:
        """Remove what a process that was killed left: files that are not in their place, and an unfinished line."""
        for left in self.path.iterdir():
            if LEFTOVER.fullmatch(left.name) and left.is_file():
                left.unlink(missing_ok=True)
        if self._lines.exists() and self._lines.stat().st_size != end:
            os.truncate(self._lines, end)

    def update(self, **entries: Any) -> None:
        """Write the manifest again with more entries; a run with the entry ``condemned`` is never read again.

        Raises:
            InputError: the disk is full, or the file cannot be written.
        """
        write_manifest(self.path, self.manifest | entries)
        self.manifest |= entries

    def append(self, *contents: Mapping[str, Any]) -> None:
        """Write a line for each of the contents, numbered; they are on the disk when this returns.

        Raises:
            InputError: the disk is full, or the file cannot be written; the lines before are as they were.
            ValueError: a number that is NaN or infinite.
        """
        lines = b"".join(map(sealed, contents, count(self._count + 1)))
        try:
            self._write(lines)
        except OSError as error:
            raise InputError(
                f"{self._lines} cannot be written ({error.strerror}): the lines before are safe; make room and "
                "give the same command again"
            ) from None
        self._count += len(contents)

    def _write(self, lines: bytes) -> None:
        if self._number is None:
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0)
            self._number = os.open(self._lines, flags, 0o666)
        before = os.fstat(self._number).st_size
        try:
            rest = memoryview(lines)
            while rest:
                rest = rest[os.write(self._number, rest) :]
            os.fsync(self._number)
        except OSError:
            with suppress(OSError):  # an unfinished line is dropped by whoever reads it
                os.ftruncate(self._number, before)
            raise


def read_folder(
    path: Path,
    kind: str,
    schemas: Sequence[int],
    title: str,
    *,
    lines: str = RECORDS,
    advice: str = ADVICE,
    whole: bool = False,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Read a run's folder, finished or not, without a lock; nothing is changed.

    Args:
        path: the folder.
        kind: of the run.
        schemas: those that are read; manifests of schema 1 have no seal.
        title: see `RunFolder`.
        lines: the file of lines.
        advice: see `RunFolder`.
        whole: a last line that is unfinished is an error.

    Returns:
        The manifest and the contents of the lines.

    Raises:
        InputError: there is no such run, or it was condemned.
        FileFormatError: the manifest or a line is not as it was written.
    """
    manifest = read_manifest(path, kind, schemas, title)
    if manifest is None:
        raise InputError(f"{path} has no {MANIFEST}: expected the folder of {title}")
    return manifest, read_lines(path / lines, advice, whole=whole)[0]
