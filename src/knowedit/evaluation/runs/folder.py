"""The folder of an evaluation: a manifest that says what is measured, and one sealed line a record.

``manifest.json`` is written once, atomically. ``records.jsonl`` is only appended to; a line is on the disk
(fsync) before its record counts as measured. Whoever writes holds a lock on that file, which the system
gives back however the process ends.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from knowedit.errors import FileFormatError, InputError
from knowedit.runs import (
    MANIFEST,
    append_line,
    canonical,
    manifest_bytes,
    read_lines,
    require_same,
    sealed,
    try_lock,
)
from knowedit.runs import read_manifest as read_any_manifest
from knowedit.tensorfile import remove_leftovers, write_bytes

RECORDS: Final = "records.jsonl"
KIND: Final = "knowedit.evaluation"
SCHEMA: Final = 1
ADVICE: Final = "restore the file, or remove that line to have its record measured again"


@dataclass(frozen=True)
class Outcome:
    """What became of one record.

    Attributes:
        case_id: the record's.
        scores: as JSON, or None where it failed.
        error: the error's type and message, or None where it did not.
        seconds: how long it took; the one thing here that another run would find otherwise.
    """

    case_id: int
    scores: dict[str, Any] | None
    error: str | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class Run:
    """The content of a run's folder.

    Attributes:
        path: the folder.
        manifest: under ``run`` what makes it this run, under ``names`` what things are called.
        outcomes: in the order of the case ids.
    """

    path: Path
    manifest: dict[str, Any]
    outcomes: tuple[Outcome, ...]

    @property
    def identity(self) -> dict[str, Any]:
        """What makes it this run."""
        found: dict[str, Any] = self.manifest["run"]
        return found

    @property
    def scored(self) -> tuple[Outcome, ...]:
        """The outcomes with scores."""
        return tuple(outcome for outcome in self.outcomes if outcome.scores is not None)

    @property
    def failed(self) -> tuple[Outcome, ...]:
        """The outcomes with an error."""
        return tuple(outcome for outcome in self.outcomes if outcome.scores is None)

    @property
    def missing(self) -> int:
        """How many records have no line yet."""
        return int(self.identity["records"]["count"]) - len(self.outcomes)

    @property
    def digest(self) -> str:
        """SHA-256 of what was measured and of every outcome, in the order of the case ids, without the seconds.

        A run that was stopped and resumed, or spread over workers, has the digest of one that was not.
        """
        found = hashlib.sha256(canonical(self.identity).encode())
        for outcome in self.outcomes:
            found.update(f"\n{canonical(asdict(outcome) | {'seconds': None})}".encode())
        return found.hexdigest()


def read_run(path: Path) -> Run:
    """Read a run's folder, finished or not; nothing is changed.

    Raises:
        InputError: there is no such run.
        FileFormatError: the manifest or a line is not as it was written.
    """
    manifest = read_manifest(path)
    if manifest is None:
        raise InputError(f"{path} has no {MANIFEST}: expected the folder that knowedit evaluate --out named")
    lines = path / RECORDS
    contents = read_lines(lines, ADVICE).contents if lines.is_file() else []
    return Run(path, manifest, _outcomes(contents, lines))


def _outcomes(contents: list[dict[str, Any]], path: Path) -> tuple[Outcome, ...]:
    """One outcome a record; a failed one may have been measured again later."""
    found: dict[int, Outcome] = {}
    for number, content in enumerate(contents, start=1):
        try:
            outcome = Outcome(**content)
        except TypeError:
            raise FileFormatError(f"line {number} of {path} is not an outcome: restore the file") from None
        earlier = found.get(outcome.case_id)
        if earlier is not None and earlier.scores is not None:
            raise FileFormatError(
                f"line {number} of {path} measures record {outcome.case_id} again: remove one of its lines"
            )
        found[outcome.case_id] = outcome
    return tuple(found[case] for case in sorted(found))


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of a run's folder, or None where there is none.

    Raises:
        FileFormatError: it is not one that this version reads.
        InputError: the run was condemned.
    """
    found = read_any_manifest(folder, KIND, SCHEMA, "an evaluation")
    if found is not None and "condemned" in found:
        raise InputError(f"the run in {folder} cannot be used: {found['condemned']}")
    return found


def _write_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    content = manifest_bytes(manifest, allow_nan=False)
    try:
        write_bytes(folder / MANIFEST, content)
    except OSError as error:
        raise InputError(
            f"{folder / MANIFEST} cannot be written ({error.strerror}): make room, or give another folder"
        ) from None


class RunFolder:
    """A run's folder, held for writing while in its ``with``.

    Args:
        path: the folder; made if it is not there, and taken away again if nothing came of it.

    Raises:
        InputError: it cannot be made or written, or another process holds it.
    """

    def __init__(self, path: Path):
        self.path = path
        self._made = False

    def __enter__(self) -> RunFolder:
        self._made = not self.path.exists()
        if not self._made and not (self.path / MANIFEST).exists():
            self._require_no_lines()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._number = self._hold()
        except OSError as error:
            raise InputError(
                f"the folder {self.path} cannot be written ({error.strerror}): give another one"
            ) from None
        remove_leftovers(self.path / MANIFEST)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not (self.path / MANIFEST).exists():
            (self.path / RECORDS).unlink(missing_ok=True)
            if self._made:
                with suppress(OSError):
                    self.path.rmdir()
        os.close(self._number)

    def _require_no_lines(self) -> None:
        lines = self.path / RECORDS
        if lines.is_file() and lines.stat().st_size:
            raise InputError(
                f"{self.path} holds {RECORDS} and no {MANIFEST}: expected a new folder or that of an earlier "
                "run; give another one"
            )

    def _hold(self) -> int:
        """The descriptor of the locked file of lines."""
        path = self.path / RECORDS
        number = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        if not try_lock(number):
            os.close(number)
            raise InputError(
                f"another process is writing to {self.path}: wait until it ends, or give another folder"
            )
        if not path.exists() or os.fstat(number).st_ino != path.stat().st_ino:
            os.close(number)  # whoever held it took it away in between
            return self._hold()
        return number

    def begin(self, identity: Mapping[str, Any], names: Mapping[str, str]) -> Run:
        """Write the manifest, or find that of the same run; drop an unfinished line.

        Raises:
            InputError: the folder belongs to another run; says what differs.
            FileFormatError: see `read_run`.
        """
        found = read_manifest(self.path)
        if found is None:
            content = {"kind": KIND, "schema": SCHEMA, "names": dict(names), "run": dict(identity)}
            _write_manifest(self.path, content)
        else:
            require_same(self.path, found["run"], identity)
        lines = read_lines(self.path / RECORDS, ADVICE)
        os.ftruncate(self._number, lines.end)
        return read_run(self.path)

    def append(self, outcome: Outcome) -> None:
        """Keep an outcome; it is on the disk when this returns.

        Raises:
            InputError: the disk is full, or the file cannot be written; the lines before are as they were.
        """
        append_line(self._number, sealed(asdict(outcome)), self.path / RECORDS)

    def condemn(self, why: str) -> None:
        """Mark the run as one whose scores nobody may use, for instance since a model did not come back."""
        manifest = read_manifest(self.path)
        assert manifest is not None
        _write_manifest(self.path, manifest | {"condemned": why})
