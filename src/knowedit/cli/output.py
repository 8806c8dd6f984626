"""How commands print: tables for people, one JSON value for machines, progress and errors on standard error."""

from __future__ import annotations

import json
import logging
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import typer
from rich.console import Console
from rich.markup import escape

from knowedit.errors import InputError

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

INTERRUPTED: Final = 130
"""The exit code of a command that was interrupted, as shells have it."""

PICTURES: Final = ("figure", "distributions")
"""The options that name a picture to draw."""

console = Console(highlight=False)
stderr = Console(stderr=True, highlight=False, soft_wrap=True)
log = logging.getLogger("knowedit")
"""Progress is shown at its level INFO, which ``-q`` takes away; ``-v`` adds what is done, at DEBUG."""


class _Lines(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        stderr.print(f"[dim]{escape(self.format(record))}[/]")


log.addHandler(_Lines())


def print_json(value: Any) -> None:
    """One JSON value on standard output."""
    typer.echo(json.dumps(value, ensure_ascii=False, indent=2))


class _Display:
    """What is being done as a spinner; as a bar from the first count on."""

    def __init__(self, text: str, unit: str | None):
        self._text, self._unit, self._note = text, unit, ""
        self._status = stderr.status(escape(text))
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._status.start()

    def __call__(
        self,
        done: float | None = None,
        of: float | None = None,
        *,
        note: str | None = None,
        text: str | None = None,
    ) -> None:
        """Show a count, of how many, a note behind it, or another text; what is left out stays."""
        self._text = self._text if text is None else text
        self._note = self._note if note is None else note
        if self._bar is None and done is None:
            self._status.update(escape(self._text))
            return
        if self._bar is None:
            self._start(done, of)
        assert self._bar is not None
        assert self._task is not None
        self._bar.update(
            self._task, total=of, completed=done, description=escape(self._text), note=escape(self._note)
        )

    def _start(self, done: float | None, of: float | None) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._status.stop()
        count = () if self._unit is None else (MofNCompleteColumn(), TextColumn(self._unit))
        note = TextColumn("{task.fields[note]}")
        columns = (TextColumn("{task.description}"), BarColumn(), *count, note, TimeRemainingColumn())
        self._bar = Progress(*columns, console=stderr, transient=True)
        self._task = self._bar.add_task(escape(self._text), total=of, completed=int(done or 0), note="")
        self._bar.start()

    def stop(self) -> None:
        self._status.stop()
        if self._bar is not None:
            self._bar.stop()


class _Silent:
    def __call__(self, *_: Any, **__: Any) -> None:
        pass

    def stop(self) -> None:
        pass


@contextmanager
def progress(text: str, unit: str | None = None, *, kept: str | None = None) -> Iterator[_Display | _Silent]:
    """Show on standard error what is being done, and how far it is.

    What it gives is called with how much is done, of how much, and with ``note=`` or another ``text=``. The time
    left is that of what this process does, also in a run that was resumed.

    Args:
        text: what is being done.
        unit: what is counted; None for a bar without numbers.
        kept: for a command that can be resumed, what is kept of it when it is interrupted.
    """
    log.debug(text)
    began = time.monotonic()
    display = _Display(text, unit) if log.isEnabledFor(logging.INFO) else _Silent()
    try:
        yield display
    except KeyboardInterrupt:
        if kept is None:
            raise
        display.stop()
        command = shlex.join(["knowedit", *sys.argv[1:]])
        stderr.print(f"stopped; {escape(kept)}. To resume, give the same command again:\n  {escape(command)}")
        raise typer.Exit(INTERRUPTED) from None
    finally:
        display.stop()
    log.debug("%s: %.1f s", text, time.monotonic() - began)


def check_outputs(*, force: bool, suffix: tuple[str, ...] = (), **files: Path | list[Path] | None) -> None:
    """Refuse, before any work, files that could not or should not be written.

    Args:
        force: whether files that exist are replaced.
        suffix: how the name of a file that is no picture may end; by default anyhow.
        files: the file or files of each option, such as ``out=`` or ``figure=``.

    Raises:
        InputError: no such folder, a file that exists, a suffix that is not written, or one file for two things.
    """
    from knowedit.figures import check_suffix

    given = {
        option: found if isinstance(found, list) else [found] for option, found in files.items() if found
    }
    seen: set[Path] = set()
    for option, paths in given.items():
        for path in paths:
            if option in PICTURES:
                check_suffix(path)
            elif suffix and path.suffix.lower() not in suffix:
                raise InputError(
                    f"{path} ends with {path.suffix!r}, expected {' or '.join(suffix)}: change its name"
                )
            if not path.parent.is_dir():
                raise InputError(
                    f"the folder {path.parent} does not exist: create it, or give another --{option}"
                )
            if path.is_dir() or (path.exists() and not force):
                raise InputError(f"{path} exists already: give another --{option}, or --force to replace it")
            if path in seen:
                raise InputError(f"{path} is given for two things: give each a name of its own")
            seen.add(path)
