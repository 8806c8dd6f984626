"""How commands print: rich for people, one JSON value for machines, one line for errors."""

from __future__ import annotations

import json
from typing import Any, Final

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from typer.core import TyperGroup

from knowedit.errors import KnoweditError

INTERRUPTED: Final = 130
"""The exit code of a command that was interrupted, as shells have it."""

console = Console(highlight=False)
stderr = Console(stderr=True, highlight=False, soft_wrap=True)


class ErrorLine(TyperGroup):
    """Turns the package's own errors into one line and exit code 2; anything else is a bug and shows as one."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except KnoweditError as error:
            stderr.print(f"[bold red]error:[/] {escape(' '.join(str(error).split()))}")
            raise typer.Exit(2) from None


def print_json(value: Any) -> None:
    """One JSON value on standard output."""
    typer.echo(json.dumps(value, ensure_ascii=False, indent=2))


def counting_bar(unit: str = "") -> Progress:
    """A bar that counts, with the time left; a task has a field ``note``, shown behind the unit."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit + "{task.fields[note]}"),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=stderr, transient=True)


def percent(share: float) -> str:
    """A probability for people."""
    return f"{100 * share:.1f} %"
