"""Find where a GPT keeps a fact, change it in the weights, and check claims about both."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from knowedit.errors import KnoweditError
from knowedit.facts import Fact

if TYPE_CHECKING:
    from knowedit.models import LanguageModel, load

__version__ = version("knowedit")
__all__ = ["Fact", "KnoweditError", "LanguageModel", "__version__", "load"]


def __getattr__(name: str) -> Any:
    # torch and transformers take seconds to import; `from knowedit import Fact` should not.
    if name in ("load", "LanguageModel"):
        from knowedit import models

        return getattr(models, name)
    raise AttributeError(f"module 'knowedit' has no attribute {name!r}")
