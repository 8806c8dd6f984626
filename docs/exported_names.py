"""For mkdocstrings: a function that a package exports is shown even where a submodule has its name.

In Python `knowedit.linalg.kkt` is the function, because `__init__.py` imports it after the submodule of the
same name. Griffe reads the source and keeps the submodule, so the function would be missing from the pages.
Packages that import lazily need nothing more: Griffe reads their imports for type checkers.
"""

from typing import Any

import griffe


class ExportedNames(griffe.Extension):
    """Puts what a package imports and exports in the place of a submodule of the same name."""

    def on_package(self, *, pkg: griffe.Module, loader: griffe.GriffeLoader, **_: Any) -> None:
        """Resolve everything that is reached through a submodule first, then replace the submodules."""
        loader.resolve_aliases(implicit=True, external=False)
        for package in [pkg, *pkg.modules.values()]:
            _replace_hidden(package)


def _replace_hidden(package: griffe.Module) -> None:
    for name in map(str, package.exports or []):
        member, imported = package.members.get(name), package.imports.get(name)
        if member is not None and member.is_module and imported not in (None, member.path):
            package.set_member(name, griffe.Alias(name, imported, parent=package))
