"""How commands print: tables for people, one JSON value for machines, progress and errors on standard error."""

from __future__ import annotations

import json
import logging
import os
import shlex
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import typer
from rich.console import Console
from rich.markup import escape
from rich.segment import Segment

from knowedit.errors import InputError
from knowedit.text import visible

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

INTERRUPTED: Final = 130
"""The exit code of a command that was interrupted, as shells have it."""

PICTURES: Final = ("figure", "distributions")
"""The options that name a picture to draw."""


class _Console(Console):
    """Writes text and styles, and lets no text steer the terminal."""

    def render_str(self, text: str, **how: Any) -> Any:
        return super().render_str(visible(text, keep="\n"), **how)

    def render(self, renderable: Any, options: Any = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            own = segment.control is None  # else it is one of Rich's own commands
            yield Segment(visible(segment.text, keep="\n"), segment.style) if own else segment


console = _Console(highlight=False)
stderr = _Console(stderr=True, highlight=False, soft_wrap=True)
log = logging.getLogger("knowedit")
"""Progress is shown at its level INFO, which ``-q`` takes away; ``-v`` adds what is done, at DEBUG."""


class _Lines(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        stderr.print(f"[dim]{escape(self.format(record))}[/]")


log.addHandler(_Lines())


def safe(text: object) -> str:
    """A text from a file, a model or the user within one that is printed: no markup, one line, nothing hidden."""
    return escape(visible(str(text)))


def print_json(value: Any) -> None:
    """One JSON value on standard output; a number that is not finite is null, as JSON has none.

    What cannot be seen is written with the escapes of JSON, so that the value is the same.
    """
    text = json.dumps(_finite(value), ensure_ascii=False, indent=2, allow_nan=False)
    typer.echo("".join(sign if visible(sign, keep="\n") == sign else _json_escape(sign) for sign in text))


def _json_escape(sign: str) -> str:
    units = sign.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not isfinite(value) else value


def print_warnings(warnings: Iterable[str], to: Console = console) -> None:
    """A line for each warning, by default on standard output."""
    for warning in warnings:
        to.print(f"[yellow]warning:[/] {safe(warning)}")


class _Display:
    """What is being done as a spinner; as a bar from the first count on."""

    def __init__(self, text: str, unit: str | None):
        self._text, self._unit, self._note = text, unit, ""
        self._status = stderr.status(safe(text))
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
            self._status.update(safe(self._text))
            return
        if self._bar is None:
            self._start(done, of)
        assert self._bar is not None
        assert self._task is not None
        self._bar.update(
            self._task, total=of, completed=done, description=safe(self._text), note=safe(self._note)
        )

    def _start(self, done: float | None, of: float | None) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._status.stop()
        count = () if self._unit is None else (MofNCompleteColumn(), TextColumn(self._unit))
        note = TextColumn("{task.fields[note]}")
        columns = (TextColumn("{task.description}"), BarColumn(), *count, note, TimeRemainingColumn())
        self._bar = Progress(*columns, console=stderr, transient=True)
        self._task = self._bar.add_task(safe(self._text), total=of, completed=int(done or 0), note="")
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
def progress(
    text: str, unit: str | None = None, *, kept: tuple[str, Path] | None = None
) -> Iterator[_Display | _Silent]:
    """Show on standard error what is being done, and how far it is.

    What it gives is called with how much is done, of how much, and with ``note=`` or another ``text=``. The time
    left is that of what this process does, also in a run that was resumed.

    Args:
        text: what is being done.
        unit: what is counted; None for a bar without numbers.
        kept: for a command that can be resumed, what is kept of it when it is interrupted, and the file that is there
            from the first of that on.
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
        stderr.print(_stopped(*kept))
        raise typer.Exit(INTERRUPTED) from None
    finally:
        display.stop()
    log.debug("%s: %.1f s", text, time.monotonic() - began)


def _stopped(kept: str, where: Path) -> str:
    there = where.is_file() and where.stat().st_size > 0
    said = f"{safe(kept)}. To resume" if there else "there is nothing yet that could be kept. To begin again"
    command = shlex.join(["knowedit", *sys.argv[1:]])
    return f"stopped; {said}, give the same command again:\n  {safe(command)}"


def check_folder(folder: Path, option: str = "--out", *, of_run: bool = True) -> None:
    """Refuse, before any work, a folder that could not be made.

    Args:
        folder: it.
        option: which names it.
        of_run: it is that of a run, so that it must not be somebody else's.

    Raises:
        InputError: a file is there, or above it; or it is somebody else's.
    """
    from knowedit.runs import RunFolder

    for place in (folder, *folder.parents):
        if place.exists() and not place.is_dir():
            raise InputError(f"{place} is a file, where a folder is needed: give another {option}")
    if of_run:
        RunFolder(folder, "", 0, "").require_ours()


def check_outputs(
    *,
    force: bool,
    suffix: tuple[str, ...] = (),
    inputs: Iterable[Path | None] | None = None,
    **files: Path | list[Path] | None,
) -> None:
    """Refuse, before any work, files that could not or should not be written.

    Args:
        force: whether files that exist are replaced.
        suffix: how the name of a file that is no picture may end; by default anyhow.
        inputs: files that the command reads, none of which is replaced.
        files: the file or files of each option, such as ``out=`` or ``figure=``.

    Raises:
        InputError: no such folder, a file that exists, a suffix that is not written, or one file for two things.
    """
    from knowedit.figures import check_suffix
    from knowedit.writing import Place

    read = {path.resolve() for path in inputs or () if path is not None}

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
            Place(path).clean()
            if path.resolve() in read:
                raise InputError(f"{path} is read by this command: give another --{option}")
            if path.is_dir() or (os.path.lexists(path) and not force):
                raise InputError(f"{path} exists already: give another --{option}, or --force to replace it")
            if path in seen:
                raise InputError(f"{path} is given for two things: give each a name of its own")
            seen.add(path)
