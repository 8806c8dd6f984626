"""For mkdocstrings: a function that a package exports is shown even where a submodule has its name.

In Python `knowedit.linalg.kkt` is the function, because `__init__.py` imports it after the submodule of the
same name. Griffe reads the source and keeps the submodule, so the function would be missing from the pages.
"""

from typing import Any

import griffe


class ExportedNames(griffe.Extension):
    """Puts the exported member of a submodule in the submodule's place."""

    def on_package(self, *, pkg: griffe.Module, loader: griffe.GriffeLoader, **_: Any) -> None:
        """Resolve everything that is reached through a submodule first, then replace the submodules."""
        loader.resolve_aliases(implicit=True, external=False)
        for package in [pkg, *pkg.modules.values()]:
            _replace_hidden(package)


def _replace_hidden(package: griffe.Module) -> None:
    for name in map(str, package.exports or []):
        submodule = package.members.get(name)
        if submodule is not None and submodule.is_module and name in submodule.members:
            package.set_member(name, griffe.Alias(name, submodule.members[name], parent=package))
