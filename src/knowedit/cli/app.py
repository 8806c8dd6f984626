"""The list of commands, and the group that imports a command's file when it is called or its help is asked for.

A command is a file of this folder with a function of the same name, ``data check`` in ``data_check.py``, and a line
of `COMMANDS`. The options of all commands are `knowedit.cli.options`.
"""

from __future__ import annotations

import logging
import os
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from importlib.metadata import version
from typing import Annotated, Any, Final, NoReturn, get_type_hints

import typer
from rich.markup import escape
from typer.core import TyperCommand, TyperGroup

from knowedit.cli.options import Quiet, Verbose
from knowedit.cli.output import INTERRUPTED, log, safe, stderr
from knowedit.cli.refusals import UsageError, in_options, usage
from knowedit.errors import KnoweditError

COMMANDS: Final = {
    "demo": "Change a fact in a small GPT and see what changed, what did not, and that it can be removed again.",
    "models": "List the models that have a name here, and where their weights are; see models check for any other.",
    "models check": "Find where a model keeps its parts, and measure the laws that everything else relies on.",
    "facts": "List facts that a bundled model knows; JSON if the output is not a terminal.",
    "profiles": "Show the named settings of ROME: the paper's and those of the code once released.",
    "edit": "Compute an edit and write it to a small file; the model itself is not changed.",
    "inspect": "Show what an edit file changes, where it comes from and how sound it is.",
    "export": "Turn edits into what peft or transformers loads without this package.",
    "generate": "Continue a text, with or without edits.",
    "stats": "Gather key statistics over text, which an edit needs; can be interrupted and resumed at any point.",
    "known": "Find which facts a model knows: it has to name the object before any other capitalised word.",
    "trace": "Find where a fact is: corrupt the subject, restore one part at a time, see what brings the answer back.",
    "trace-average": "Find where a model keeps its facts on average; can be interrupted and resumed at any point.",
    "evaluate": "Run an editor over many records and score it; can be interrupted and resumed at any point.",
    "sweep": "Find the layer, bound, learning rate or other setting at which an editor is at its best.",
    "table": "Put runs side by side as in the paper's Table 2, with intervals and the two failures marked.",
    "data check": "Print Table 1 of a file of records and name every bad record; exit code 1 if there is one.",
    "data compile": "Build records from facts and templates as Appendix C.1 does, and a manifest of what was left out.",
    "organism info": "Show how a bundled model was trained and what it knows.",
    "organism train": "Train a bundled model again from its recipe: about an hour on one core; can be resumed.",
}
"""Every command in the order of ``--help``, and its help."""

LONGEST_LINE: Final = 2_000
"""Characters of a refusal; the middle of a longer one, which repeats something huge, is left out."""
LONGEST_NAME: Final = 255
"""Bytes of a file's name, on the file systems in use."""

GROUPS: Final = {
    "data": "COUNTERFACT records: check them, make new ones.",
    "organism": "The small models that ship with the package.",
}


class _Commands(TyperGroup):
    """A group whose commands are imported when they are used, and whose errors are one line."""

    def __init__(self, *, name: str | None = None, **attributes: Any):
        super().__init__(name=name, **attributes)
        paths = (path.rpartition(" ") for path in COMMANDS)
        mine = [(own, " ".join((group, own)).strip()) for group, _, own in paths if group == (name or "")]
        lazy = {own: TyperCommand(name=own, help=COMMANDS[path]) for own, path in mine}
        self.commands = lazy | dict(self.commands)
        self._path, self._options = name or "", dict[str, str]()

    def get_params(self, ctx: Any) -> list[Any]:
        """The options of the group, all of them flags."""
        params = super().get_params(ctx)
        for param in params:
            # To read a flag that is None, Typer imports pydantic, which is a third of the time of --help.
            param.default = param.default or False
        return params

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the options before the command, without the verbosity of an earlier call in the process."""
        if ctx.parent is None:
            log.setLevel(logging.INFO)
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """The command, imported; it takes ``-v`` and ``-q`` as well."""
        name, found, rest = super().resolve_command(ctx, args)
        if found is None or isinstance(found, TyperGroup):
            return name, found, rest
        self._path = f"{self.name or ''} {name}".strip()
        if rest and f"{self._path} {rest[0]}" in COMMANDS:  # a command below another: models check
            self._path = name = f"{self._path} {rest.pop(0)}"
        command = _imported(self._path)
        self._options = {param.name: max(param.opts, key=len) for param in command.params}
        command.params += [
            param for param in ctx.find_root().command.params if param.name in ("quiet", "verbose")
        ]
        return name, command, rest

    def make_context(self, *args: Any, **options: Any) -> Any:
        """Read the command line up to the command."""
        with self._refusals():
            return super().make_context(*args, **options)

    def invoke(self, ctx: Any) -> Any:
        """Run the command; an error of the package is one line and exit code 2, anything else is a bug and shows."""
        with self._refusals():
            return super().invoke(ctx)

    @contextmanager
    def _refusals(self) -> Iterator[None]:
        try:
            yield
        except UsageError as error:
            if type(error).__name__ == "NoArgsIsHelpError":
                raise
            _refuse(usage(error, self._path))
        except KnoweditError as error:
            log.debug(traceback.format_exc())
            _refuse(in_options(str(error), self._options))
        except KeyboardInterrupt:
            stderr.print("stopped")
            raise typer.Exit(INTERRUPTED) from None


def _refuse(text: str) -> NoReturn:
    line = " ".join(text.split())
    line = (
        line if len(line) <= LONGEST_LINE else f"{line[: LONGEST_LINE // 2]} … {line[-LONGEST_LINE // 2 :]}"
    )
    stderr.print(f"[bold red]error:[/] {safe(line)}")
    raise typer.Exit(2) from None


def _imported(path: str) -> Any:
    name = path.replace(" ", "_").replace("-", "_")
    alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    function = getattr(import_module(f"knowedit.cli.{name}"), name)
    alone.command(path.rpartition(" ")[2], help=COMMANDS[path])(function)
    command = typer.main.get_command(alone)
    hints = get_type_hints(function)
    for param in command.params:
        if param.name == "model" or "pathlib" in str(hints.get(param.name or "")):
            param.process_value = partial(_path_read, param, param.process_value)  # type: ignore[method-assign]
        # In a help text Rich takes what is in square brackets for markup.
        param.help = escape(getattr(param, "help", None) or "")  # type: ignore[attr-defined]
    return command


def _path_read(param: Any, read: Callable[..., Any], ctx: Any, value: Any) -> Any:
    """A path, or several, or a model, which a path may name; an empty one would be the folder that one is in.

    Raises:
        BadParameter: it is empty, or no file can have that name.
    """
    for text in value if isinstance(value, list | tuple) else [value]:
        if text == "":
            raise typer.BadParameter("expected a name or a path, not an empty text", ctx=ctx, param=param)
        if isinstance(text, str) and (
            "\0" in text or max(map(len, os.fsencode(text).split(b"/"))) > LONGEST_NAME
        ):
            raise typer.BadParameter("no file can have this name", ctx=ctx, param=param)
    return read(ctx, value)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"knowedit {version('knowedit')}")
        raise typer.Exit


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Find where a GPT keeps a fact, change it in the weights, and check what else changed.",
)
for _name, _help in GROUPS.items():
    app.add_typer(typer.Typer(cls=_Commands, no_args_is_help=True), name=_name, help=_help)


@app.callback()
def _main(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, expose_value=False, help="Print the version."
        ),
    ] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    pass
