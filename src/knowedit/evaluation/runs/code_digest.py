"""A digest of the source that scores depend on, so that evidence can be told from older code.

The files are found by following the imports of the package's own modules, name by name: an import from a
package's ``__init__`` leads to the module that defines the name, and not to its neighbours.
"""

from __future__ import annotations

import ast
import hashlib
import io
import tokenize
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

PACKAGE: Final = "knowedit"
ROOT: Final = Path(__file__).parents[2]


def code_digest(modules: Iterable[str]) -> str:
    """SHA-256 of the modules and all that they import from this package, without comments and docstrings.

    Args:
        modules: dotted names; those of other packages are left out.
    """
    found = hashlib.sha256()
    for name in code_modules(modules):
        path = _file(name)
        assert path is not None
        found.update(f"{name}\n{_bare(path.read_text(encoding='utf-8'))}\n".encode())
    return found.hexdigest()


def code_modules(modules: Iterable[str]) -> list[str]:
    """The dotted names of the modules and of those that they import, directly or not; sorted."""
    waiting, found = [name for name in modules if _file(name)], set[str]()
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += [target for target in _imports(name) if target not in found]
    return sorted(found)


def _file(module: str) -> Path | None:
    """The source of a module of this package, or None."""
    first, *rest = module.split(".")
    path = ROOT.joinpath(*rest)
    candidates = (path.with_suffix(".py"), path / "__init__.py") if rest else (path / "__init__.py",)
    return next((file for file in candidates if first == PACKAGE and file.is_file()), None)


def _imports(module: str) -> Iterator[str]:
    path = _file(module)
    assert path is not None
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                target = _defining(node.module, alias.name)
                if target is not None:
                    yield target
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if _file(alias.name))


def _defining(module: str, name: str) -> str | None:
    """The module that an import of ``name`` from ``module`` leads to, or None outside the package."""
    path = _file(module)
    if path is None:
        return None
    if path.name != "__init__.py":
        return module
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return _defining(node.module, alias.name)
    return f"{module}.{name}" if _file(f"{module}.{name}") else module


def _bare(source: str) -> str:
    """The lines of a source that are not empty once comments and docstrings are gone."""
    lines = source.splitlines(keepends=True)
    for first, last in _docstrings(source):
        lines[first - 1 : last] = ["\n"] * (last - first + 1)
    for (row, column), end in _comments(source):
        if lines[row - 1] != "\n":
            lines[row - 1] = lines[row - 1][:column].rstrip() + lines[row - 1][end:]
    return "\n".join(line.rstrip() for line in lines if line.strip())


def _docstrings(source: str) -> Iterator[tuple[int, int]]:
    """First and last line of every string that stands alone as a statement."""
    for node in ast.walk(ast.parse(source)):
        if (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)
        ):
            yield node.lineno, node.end_lineno or node.lineno


def _comments(source: str) -> Iterator[tuple[tuple[int, int], int]]:
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start, token.end[1]
