"""The options that several commands share, each once: its name, its help and what it is read as."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import typer

from knowedit.cli.output import log
from knowedit.errors import InputError

DEFAULT_MODEL: Final = "organism-gpt2"
LARGEST_SEED: Final = 2**63 - 1
LARGEST_COUNT: Final = 10**9
"""Of records, facts and whatever else a file holds or a user asks for: more fit into no memory."""
MOST_LAYERS: Final = 10_000
MOST_WORKERS: Final = 4_096
"""On a cluster; on one machine its CPUs bound them, see `knowedit.runs.Workers`."""
MOST_DRAWS: Final = 10_000
"""Of a fact; a thousand times those of the paper."""
MOST_DIGITS: Final = 4_000
"""Python itself reads no longer number (`sys.set_int_max_str_digits`)."""


def _at(level: int) -> Callable[[bool], None]:
    def switch(wanted: bool) -> None:
        if wanted:
            log.setLevel(level)

    return switch


def _layers(text: str | None) -> tuple[int, ...] | None:
    """``3-7,10`` as numbers, in order and each once.

    Raises:
        InputError: anything else.
    """
    if text is None:
        return None
    found: set[int] = set()
    for piece in text.split(","):
        first, dash, last = (side.strip() for side in piece.partition("-"))
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise InputError(f"--layers {text!r} cannot be read at {piece!r}: write them as in 3-7,10")
        if max(len(first), len(last)) > MOST_DIGITS or max(int(first), int(last or first)) >= MOST_LAYERS:
            raise InputError(f"--layers {piece!r} is beyond any model's: layers count from 0")
        if dash and int(last) < int(first):
            raise InputError(f"--layers {piece!r} goes down: write the smaller number first")
        found.update(range(int(first), int(last or first) + 1))
    return tuple(sorted(found))


def _assignments(texts: list[str] | None) -> list[tuple[str, Any]]:
    """``field=value`` as pairs; a value is JSON, or text where it is none.

    Raises:
        InputError: anything else.
    """
    return list(map(_assignment, texts or ()))


def _varied(texts: list[str] | None) -> list[tuple[str, tuple[Any, ...]]]:
    """``field=value,value`` as pairs of a field and its values, which may be a JSON list.

    Raises:
        InputError: anything else, or a value given twice.
    """
    found = []
    for text in texts or ():
        name, value = _assignment(text)
        if isinstance(value, str):
            value = tuple(map(_value, value.split(",")))
        values = value if isinstance(value, tuple) else (value,)
        if len(set(map(repr, values))) < len(values):
            raise InputError(f"--vary {text!r} gives a value twice: give each once")
        found.append((name, values))
    return found


def _assignment(text: str) -> tuple[str, Any]:
    name, sign, value = (part.strip() for part in text.partition("="))
    if not sign or not name.isidentifier():
        raise InputError(f"{text!r} is no assignment: write it as field=value, for instance max_steps=30")
    found = _value(value)
    if isinstance(found, dict):
        raise InputError(f"{text!r} is a JSON object: give a number, a text, a list, true, false or null")
    return name, found


def _value(text: str) -> Any:
    try:
        return _tuples(json.loads(text, parse_constant=_no_number))
    except InputError:
        raise
    except (ValueError, RecursionError):  # no JSON, a number of too many digits, or too many brackets
        return text.strip()


def _no_number(name: str) -> Any:
    raise InputError(f"{name} is no number of an editor: give a finite one")


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _numbers(param: typer.CallbackParam, text: str | None) -> tuple[float, ...] | None:
    """``1e-3,2e-3`` as positive numbers, in order and each once.

    Raises:
        InputError: anything else.
    """
    if text is None:
        return None
    try:
        found = {float(piece) for piece in text.split(",")}
    except ValueError:
        raise InputError(f"--{param.name} {text!r} cannot be read: write it as in 1e-3,5e-3") from None
    if not all(0 < number < float("inf") for number in found):
        raise InputError(
            f"--{param.name} {text!r} has a number that is not positive and finite: write it as in 1e-3,5e-3"
        )
    return tuple(sorted(found))


Quiet = Annotated[
    bool,
    typer.Option(
        "--quiet", "-q", callback=_at(logging.WARNING), expose_value=False, help="Show no progress."
    ),
]
Verbose = Annotated[
    bool,
    typer.Option(
        "--verbose",
        "-v",
        callback=_at(logging.DEBUG),
        expose_value=False,
        help="Show each step, and where an error arose.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON value instead of text for people.")]

Model = Annotated[
    str, typer.Option("--model", "-m", help="A name from `knowedit models`, a folder, GGUF file or Hub id.")
]
Device = Annotated[str, typer.Option(help="Where the model runs, for instance cuda.")]
Dtype = Annotated[
    str, typer.Option(help="The number format of the model: float32, bfloat16, float16 or float64.")
]
Edits = Annotated[
    list[Path] | None, typer.Option("--edit", help="An edit file to apply first; may be given several times.")
]
Layer = Annotated[
    int | None,
    typer.Option(min=0, max=MOST_LAYERS, help="The layer to edit; by default the one known for the model."),
]
Layers = Annotated[
    Any,  # typed as text, read as a tuple of numbers; None if it is left out
    typer.Option(parser=str, callback=_layers, metavar="LAYERS", help="Layers, such as 3-7,10."),
]

Vary = Annotated[
    list[str] | None,  # read as pairs
    typer.Option(
        callback=_varied,
        metavar="FIELD=VALUES",
        help="Values of a field of the editor, such as max_steps=20,25; may be given again.",
    ),
]
Bounds = Annotated[
    Any,  # typed as text, read as a tuple of numbers; None if it is left out
    typer.Option(parser=str, callback=_numbers, metavar="NUMBERS", help="Every ε of ft+l and attn-edit."),
]
Rates = Annotated[
    Any,
    typer.Option(
        parser=str, callback=_numbers, metavar="NUMBERS", help="Every learning rate of fine-tuning."
    ),
]

Method = Annotated[
    str, typer.Option(help="The editor: rome, or fine-tuning of one layer: ft, ft+l, attn-edit.")
]
Profile = Annotated[
    str | None, typer.Option(help="Named settings of the editor; `knowedit profiles` lists those of rome.")
]
Bound = Annotated[
    float | None,
    typer.Option(help="How far a weight may move, ε, of ft+l and attn-edit; by default the known one."),
]
LearningRate = Annotated[
    float | None, typer.Option(help="Of the search for the edit; by default the known one.")
]
Statistics = Annotated[
    Path | None, typer.Option(help="A file that `knowedit stats` wrote; by default the model's own.")
]
Set = Annotated[
    list[str] | None,  # read as pairs
    typer.Option(
        "--set",
        callback=_assignments,
        metavar="FIELD=VALUE",
        help="Another setting of the editor, as JSON; may be given again.",
    ),
]

Records = Annotated[
    Path | None,
    typer.Option(help="Records: COUNTERFACT, zsRE, KnowEdit, MQuAKE, ...; by default the model's own."),
]
Limit = Annotated[
    int | None, typer.Option(min=1, max=LARGEST_COUNT, help="At most this many, the first ones.")
]
Seed = Annotated[int, typer.Option(min=0, max=LARGEST_SEED, help="Seed of everything that is drawn.")]
Workers = Annotated[int, typer.Option(min=1, max=MOST_WORKERS, help="Processes, with one thread each.")]

Out = Annotated[Path, typer.Option(help="The file to write.")]
RunFolder = Annotated[
    Path, typer.Option("--out", help="The folder of the run; the same command again resumes it.")
]
Figure = Annotated[Path | None, typer.Option(help="A picture to draw: .png, .svg or .pdf.")]
Force = Annotated[bool, typer.Option("--force", help="Replace files that exist.")]

Part = Annotated[Literal["hidden", "mlp", "attention"], typer.Option(help="What is restored.")]
Window = Annotated[
    str | None,
    typer.Option(
        help="Layers restored together: paper, released, depth, a number, or A,B for A below and B above. "
        "By default one; depth for MLP and attention in `trace-average` and with --part all."
    ),
]
Sever = Annotated[
    Literal["mlp", "attention"] | None,
    typer.Option(help="Hold this part at its corrupted value at the last subject token."),
]
Noise = Annotated[float | None, typer.Option(help="Standard deviation of the noise, ν.")]
RelativeNoise = Annotated[
    float | None, typer.Option(help="ν as a multiple of the subject embeddings' deviation; by default 3.")
]
Draws = Annotated[
    int | None, typer.Option(min=1, max=MOST_DRAWS, help="Noise samples of each fact; by default 10.")
]
