"""Every refusal in one line: what was found, what was expected, what to do, in the words of the command line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, Final

import typer

UsageError: Final[Any] = typer.BadParameter.__base__
"""What Typer raises where a command line cannot be read; it has no public name."""

LONGEST: Final = 60
"""Of what was typed this much is repeated."""

PYDANTIC: Final = {
    r"^Unable to parse input string as an integer.*": "expected a number of fewer digits",
    r"^Input should be a valid integer.*": "expected a whole number",
    r"^Input should be a valid number.*": "expected a number",
    r"^Input should be (?=greater|less)": "expected a number ",
    r"^Input should be ": "expected ",
    r"^Value error, '.*' is not one of": "expected one of",
    r"^Value error, ": "",
}
"""What the messages of pydantic, which reads values, are in our words."""
KEYWORD: Final = re.compile(r"(?<![\w'\"`.])([a-z_]+)=(?!=)([\w.-]*)")
"""An argument of Python in a message of the library: ``layer=``, ``seed=0``."""
NAME: Final = re.compile(r"(?<![\w'\"`.])[a-z]+(?:_[a-z]+)+(?![\w'\"`.,=])")
"""One that is spoken of: ``target_new``; those of a list are fields of an editor, and stay."""


def in_options(text: str, options: Mapping[str, str]) -> str:
    """A message of the library with options of the command in place of Python's arguments.

    Args:
        text: the message.
        options: the option of each argument, for instance ``--layer`` of ``layer``.
    """

    def option(found: re.Match[str]) -> str:
        name, value = found.groups()
        return " ".join(filter(None, (options[name], value))) if name in options else found[0]

    return NAME.sub(lambda found: options.get(found[0], found[0]), KEYWORD.sub(option, text))


def usage(error: Any, command: str) -> str:
    """What is wrong with a command line, beginning with the command and ending with where its help is.

    Args:
        error: what Typer raised.
        command: what was to be run, where the error does not tell.
    """
    context = getattr(error, "ctx", None)
    words = command.split() if context is None else context.command_path.split()[1:]
    path = " ".join(["knowedit", *words])
    told = " ".join(_told(error, context).split()).rstrip(".")
    return f"{path}: {told}{' See' if told.endswith('?') else '; see'} {path} --help"


def _told(error: Any, context: Any) -> str:
    kind, message = type(error).__name__, error.format_message()
    if kind == "NoSuchOption":
        params = context.command.params
        known = [one for param in params for one in (*param.opts, *param.secondary_opts) if one[:2] == "--"]
        return f"there is no option {error.option_name}{_nearest(error.option_name, known)}"
    if found := re.match(r"No such command '(.*?)'", message, re.DOTALL):
        return f"there is no command {found[1]!r}{_nearest(found[1], context.command.list_commands(context))}"
    if kind == "MissingParameter":
        return f"{_name(error.param)} is missing: {_help(error.param)}"
    if isinstance(error, typer.BadParameter) and error.param is not None:
        return f"{_name(error.param)} {_value(error)}: {expected(error.message)}"
    return f"{message[:1].lower()}{message[1:]}"


def expected(message: str) -> str:
    """What pydantic expects of a value, in our words."""
    for pattern, words in PYDANTIC.items():
        message = re.sub(pattern, words, message, count=1, flags=re.DOTALL)
    return message


def _name(param: Any) -> str:
    return str(max(param.opts, key=len)) if param.param_type_name == "option" else str(param.name).upper()


def _help(param: Any) -> str:
    text = str(getattr(param, "help", "") or "").replace("\\[", "[").rstrip(".")
    return f"give {text[:1].lower()}{text[1:]}" if text else "give it"


def _value(error: Any) -> str:
    """What was found, as far as the error tells."""
    reasons = getattr(error.__cause__, "errors", None)
    if not reasons:
        return "cannot be used"
    text = str(reasons()[0].get("input"))
    return f"is {text if len(text) <= LONGEST else text[: LONGEST - 1] + '…'!r}"


def _nearest(name: str, known: list[str]) -> str:
    near = get_close_matches(name, known, n=1)
    return f", did you mean {near[0]}?" if near else ""
