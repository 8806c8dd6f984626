"""Text and JSON out of files, which anybody may have written: all of the package is read through here.

A byte order mark is no text. JSON is what RFC 8259 has, and of that what any program reads alike: each name once in an
object, finite numbers, whole numbers of at most 64 bits, and little nesting.
"""

from __future__ import annotations

import codecs
import json
import math
from functools import cache
from pathlib import Path
from typing import Any, Final, TypeVar, cast

from knowedit.errors import FileFormatError

DEEPEST: Final = 100
"""Lists and objects within each other, at most; the package's own files have fewer than ten."""
LARGEST: Final = 2**64
_SHOWN: Final = 60
"""Characters of a value that a message quotes at most."""
_WIDE: Final = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}

T = TypeVar("T")


def decoded(data: bytes, where: object) -> str:
    """UTF-8 as text, without a byte order mark.

    Args:
        data: the content.
        where: the file, and the line of it, for messages.

    Raises:
        FileFormatError: another encoding; it is named where it can be told.
    """
    for mark, name in _WIDE.items():
        if data.startswith(mark):
            raise FileFormatError(f"{where} is {name}: expected UTF-8; save it as UTF-8")
    if b"\x00" in data:
        raise FileFormatError(f"{where} has zero bytes, as UTF-16 does: expected UTF-8; save it as UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FileFormatError(
            f"{where} is not UTF-8 ({error.reason} at byte {error.start + 1}): save it as UTF-8"
        ) from None


def read_json(path: Path, advice: str) -> Any:
    """The value that a JSON file holds; see `parsed`.

    Args:
        path: the file, which is there.
        advice: what was expected, or what to do about a file that is no JSON.

    Raises:
        FileFormatError: it cannot be read, is not UTF-8, or is not JSON.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise FileFormatError(f"{path} cannot be read ({error.strerror}): {advice}") from None
    return parsed(decoded(data, path), path, advice)


def parsed(text: str | bytes, where: object, advice: str) -> Any:
    """JSON text as a value.

    Args:
        text: what is parsed.
        where: the file, and the line of it, for messages.
        advice: what was expected, or what to do about what is no JSON.

    Raises:
        FileFormatError: it is not JSON, nested too deeply, has a name twice in one object, or a number that is not
            finite or, if it is whole, has more than 64 bits.
    """
    try:
        found = json.loads(
            text,
            parse_int=_whole,
            parse_float=_finite,
            parse_constant=_no_number,
            object_pairs_hook=_once,
        )
        if _marks(text) > DEEPEST:
            _require_shallow(found)
    except json.JSONDecodeError as error:
        place = f"at line {error.lineno} column {error.colno}"
        raise FileFormatError(f"{where} is not JSON ({error.msg} {place}): {advice}") from None
    except UnicodeDecodeError:
        raise FileFormatError(f"{where} is not UTF-8: {advice}") from None
    except RecursionError:
        raise FileFormatError(f"{where} is not JSON (nested too deeply): {advice}") from None
    except ValueError as error:
        raise FileFormatError(f"{where} cannot be read as JSON ({error}): {advice}") from None
    return found


def checked(shape: type[T], value: Any, where: object, advice: str) -> T:
    """A value out of JSON as a type, exactly: a count is no ``true`` and no 1.5, a text no number.

    Args:
        shape: a dataclass, a TypedDict, or whatever pydantic knows; lists become the tuples that it has.
        value: as `parsed` gives it.
        where: the file, and the place in it, for messages.
        advice: what to do.

    Raises:
        FileFormatError: what is missing or wrong; the first three of it are named.
    """
    from pydantic import ValidationError

    try:
        # As JSON again, since there strict means the same types and not the same classes.
        found: T = _adapter(cast("Any", shape)).validate_json(json.dumps(value, allow_nan=False), strict=True)
    except ValidationError as error:
        problems = error.errors(include_url=False)
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        listed = "; ".join(map(_told, problems[:3]))
        raise FileFormatError(f"{where} has missing or wrong entries ({listed}{more}): {advice}") from None
    except (ValueError, TypeError, RecursionError) as error:
        raise FileFormatError(f"{where} has wrong entries ({shown(error)}): {advice}") from None
    return found


def shown(value: object) -> str:
    """A value or an error as a few words on one line, for messages."""
    words = " ".join((str(value) if isinstance(value, BaseException) else repr(value)).split())
    return words if len(words) <= _SHOWN else f"{words[:_SHOWN]}..."


@cache
def _adapter(shape: Any) -> Any:
    from pydantic import TypeAdapter  # a third of a second, which no start should pay

    return TypeAdapter(shape)


def _told(problem: Any) -> str:
    place = ".".join(shown(part).strip("'") for part in problem["loc"]) or "it"
    if problem["type"] == "missing":
        return f"{place} is missing"
    if problem["type"] == "value_error":
        return f"{place}: {problem['ctx']['error']}"
    return f"{place} is {shown(problem['input'])}, {problem['msg'][:1].lower()}{problem['msg'][1:]}"


def _whole(digits: str) -> int:
    if len(digits) > 20 or not -LARGEST < (found := int(digits)) < LARGEST:
        raise ValueError(f"a whole number of {len(digits)} digits, expected at most 64 bits")
    return found


def _finite(digits: str) -> float:
    found = float(digits)
    if not math.isfinite(found):
        raise ValueError(f"the number {shown(digits)} is too large")
    return found


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number in JSON")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the name {shown(twice)} is twice in one object")
    return found


def _marks(text: str | bytes) -> int:
    """How many lists and objects begin, at most; brackets in texts are counted too."""
    if isinstance(text, bytes):
        return text.count(b"[") + text.count(b"{")
    return text.count("[") + text.count("{")


def _require_shallow(value: Any) -> None:
    level = [value]
    for _ in range(DEEPEST + 1):
        inner = (
            one.values() if isinstance(one, dict) else one for one in level if isinstance(one, dict | list)
        )
        level = [part for group in inner for part in group if isinstance(part, dict | list)]
        if not level:
            return
    raise RecursionError
