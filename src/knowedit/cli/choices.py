"""What options ask for, as values of the library: an editor, and the settings of a trace."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

from knowedit.cli.options import LARGEST_COUNT, MOST_LAYERS
from knowedit.cli.refusals import LONGEST, expected
from knowedit.errors import InputError

if TYPE_CHECKING:
    from knowedit.tracing import Part, Severed, TraceSettings, Window


def chosen_editor(method: str, profile: str | None, settings: Any, **options: Any) -> Any:
    """The editor of ``--method``, ``--profile``, ``--set`` and the options that name a field.

    Args:
        method: its name; ``none`` for no editor.
        profile: the name of its settings, or None.
        settings: pairs of ``--set``: a field and its value.
        options: fields of the editor; one that is None was not given.

    Returns:
        The editor; None for ``none``.

    Raises:
        InputError: no such editor, profile or field, or a value that it cannot use.
    """
    from knowedit.editing import EDITORS, make_editor

    given = {name: value for name, value in options.items() if value is not None}
    given |= dict(settings or ())
    if isinstance(file := given.get("statistics"), Path) and not file.is_file():
        raise InputError(f"there is no file {file}: give key statistics that `knowedit stats` wrote")
    if method != "none":
        usual = make_editor(method, profile=profile)
        if wrong := [name for name in given if name in options and not hasattr(usual, name)]:
            raise InputError(f"{method} has no {_option(wrong[0])}: leave it out, or use another --method")
        for name, value in given.items():
            check_field(usual, name, value)
        return make_editor(method, profile=profile, **given)
    if given or profile is not None:
        first = _option(next(iter(given), "profile"))
        raise InputError(f"none takes no {first}: leave it out, or use one of {', '.join(EDITORS)}")
    return None


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def check_field(editor: Any, name: str, value: Any) -> None:
    """Refuse a typed value that a field of an editor cannot have; `make_editor` knows which fields there are.

    Args:
        editor: with its usual settings.
        name: of the field.
        value: as it was read.

    Raises:
        InputError: another type, or a number beyond all use.
    """
    from pydantic import ConfigDict, TypeAdapter, ValidationError

    if isinstance(value, int) and abs(value) > LARGEST_COUNT:
        raise InputError(f"{name} is {value:.0e}: give a number of at most {LARGEST_COUNT:,}")
    try:
        hint = get_type_hints(type(editor))[name]
        TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True)).validate_python(value, strict=True)
    except (KeyError, NameError):  # no such field, or one whose type only its author knows
        return
    except ValidationError as error:
        usual = f", such as {own}" if (own := getattr(editor, name, None)) is not None else ""
        raise InputError(f"{name} is {value!r}: {expected(error.errors()[0]['msg'])}{usual}") from None


def trace_settings(
    window: str | None,
    sever: Severed | None,
    draws: int | None,
    *,
    noise: float | None,
    relative_noise: float | None,
    substitute: str | None = None,
) -> Callable[[Part, int, str], TraceSettings]:
    """How to trace, once a model is there: a function of the part, the model's layers and the usual window.

    Args:
        window: as typed; see `knowedit.cli.options.Window`.
        sever: the part that is held at its corrupted value.
        draws: how many corruptions.
        noise: ν.
        relative_noise: ν as a multiple of the deviation of the subject's embeddings.
        substitute: a subject in place of noise.

    Raises:
        InputError: two corruptions, ν that is not positive, or a window that cannot be read; the function raises it
            for a window larger than the model.
    """
    from knowedit.tracing import GaussianNoise, RelativeNoise, Substitution, TraceSettings

    if sum(value is not None for value in (noise, relative_noise, substitute)) > 1:
        raise InputError("give only one of --noise, --relative-noise and --substitute")
    corruption: Any = RelativeNoise() if relative_noise is None else RelativeNoise(relative_noise)
    if noise is not None:
        corruption = GaussianNoise(noise)
    elif substitute is not None:
        corruption = Substitution(substitute)
    if window is not None:
        _window(window, 1)

    def settings(part: Part, n_layers: int, usual: str) -> TraceSettings:
        found = _window(usual if window is None else window, n_layers).check(n_layers)
        return TraceSettings(part, found, sever, corruption, draws)

    return settings


def _window(text: str, n_layers: int) -> Window:
    """``paper``, ``released``, ``depth`` (`Window.for_depth`), a number of layers, or ``A,B``.

    Raises:
        InputError: anything else.
    """
    from knowedit.tracing import Window

    named = {"paper": Window.paper(), "released": Window.released(), "depth": Window.for_depth(n_layers)}
    if text in named:
        return named[text]
    numbers = [piece.strip() for piece in text.split(",")]
    if len(numbers) > 2 or not all(number.isdecimal() for number in numbers):
        raise InputError(
            f"the window {text!r} is not known: use paper, released, depth, a number of layers, or A,B for A "
            "layers below the centre and B above"
        )
    if max(map(len, numbers)) > len(str(MOST_LAYERS)):
        raise InputError(f"the window {text[:LONGEST]!r} is larger than any model: take a smaller one")
    found = [int(number) for number in numbers]
    return Window(*found) if len(found) == 2 else Window.paper(found[0])
