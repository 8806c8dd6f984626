"""Facts and templates from files: ParaRel's folders, or one JSON Lines or JSON file of one's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from knowedit.errors import FileFormatError, InputError
from knowedit.evaluation.records.compiler.table import Triple
from knowedit.evaluation.records.files import entries
from knowedit.reading import checked, read_json

FIELDS = (("subject", "sub_label"), ("object", "obj_label"))
PATTERN = "pattern"


def read_facts(path: str | Path) -> list[Triple]:
    """Subject, relation and object of every row.

    Args:
        path: JSON Lines or a JSON list of objects with ``subject``, ``relation`` and ``object``; or a folder of
            such files, as ParaRel has them: ``sub_label`` and ``obj_label``, the relation is the file's name.

    Raises:
        InputError: there is no such file, or a row lacks a field; file and line are named.
        FileFormatError: a row is not JSON.
    """
    return [_fact(file, where, row) for file in _files(path) for where, row in _rows(file)]


def read_templates(path: str | Path) -> dict[str, list[str]]:
    """The templates of every relation.

    Args:
        path: a JSON object, relation to a list of texts; or a folder of JSON Lines with ``pattern``, as ParaRel
            has them, where the relation is the file's name.

    Raises:
        InputError: there is no such file, or a template is missing or no text.
        FileFormatError: it is not JSON, or of another shape.
    """
    source = Path(path)
    if source.is_dir():
        return {file.stem: [_pattern(file, *row) for row in _rows(file)] for file in _files(source)}
    if not source.is_file():
        raise InputError(
            f"there is no file {source}: expected relations and their templates as a JSON object"
        )
    advice = "expected a JSON object of relations with a list of texts each"
    return checked(dict[str, list[str]], read_json(source, advice), source, advice)


def _files(path: str | Path) -> list[Path]:
    source = Path(path)
    found = sorted(source.glob("*.jsonl")) if source.is_dir() else [source]
    if not found or not found[0].is_file():
        raise InputError(f"there is no file {source}, or no *.jsonl in it: check the path")
    return found


def _rows(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for entry in entries(file):
        if entry.problem or not isinstance(entry.value, dict):
            problem = entry.problem or f"holds a {type(entry.value).__name__}, expected an object"
            raise FileFormatError(f"{file}, {entry.where}: {problem}")
        yield entry.where, entry.value


def _fact(file: Path, where: str, row: dict[str, Any]) -> Triple:
    subject, thing = (next((row[name] for name in names if name in row), None) for names in FIELDS)
    found = {"subject": subject, "relation": row.get("relation", file.stem), "object": thing}
    for name, value in found.items():
        if not isinstance(value, str) or not value.strip():
            raise InputError(f"{file}, {where}: {name} is {value!r}, expected text")
    return str(subject), str(found["relation"]), str(thing)


def _pattern(file: Path, where: str, row: dict[str, Any]) -> str:
    if not isinstance(found := row.get(PATTERN), str):
        raise InputError(f"{file}, {where}: {PATTERN} is {found!r}, expected text")
    return found
