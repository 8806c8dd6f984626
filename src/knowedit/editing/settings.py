"""The settings of an editor as JSON, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from knowedit.errors import InputError


def settings_of(editor: Any) -> dict[str, Any]:
    """Everything that an editor's edits depend on besides the model, the facts and what is drawn; as JSON.

    Args:
        editor: any object with ``edit``. Its ``settings`` are taken; one without them gives its fields if it is a
            dataclass, else nothing.

    Returns:
        The settings, and the name of the class under ``editor``.

    Raises:
        InputError: a field that JSON cannot hold.
    """
    own = editor.settings if hasattr(editor, "settings") else fields_as_json(editor)
    return {**own, "editor": type(editor).__name__}


def fields_as_json(editor: Any) -> dict[str, Any]:
    """The fields of a dataclass, tuples as lists and paths as text; of any other object nothing.

    Raises:
        InputError: a field that JSON cannot hold.
    """
    if not is_dataclass(editor):
        return {}
    return {
        field.name: _as_json(getattr(editor, field.name), f"{type(editor).__name__}.{field.name}")
        for field in fields(editor)
    }


def _as_json(value: Any, name: str) -> Any:
    match value:
        case None | bool() | int() | float() | str():
            return value
        case Path():
            return str(value)
        case list() | tuple():
            return [_as_json(part, name) for part in value]
        case Mapping():
            return {str(key): _as_json(part, name) for key, part in value.items()}
    if is_dataclass(value):
        return fields_as_json(value)
    raise InputError(
        f"{name} is a {type(value).__name__}, which JSON cannot hold: give the editor a property settings that says "
        "what its edits depend on"
    )


def as_tuples(value: Any) -> Any:
    """A value of `fields_as_json` with lists as tuples again."""
    return tuple(as_tuples(part) for part in value) if isinstance(value, list | tuple) else value
