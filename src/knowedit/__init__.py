"""Find where a GPT keeps a fact, change it in the weights, and check claims about both."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from knowedit.errors import KnoweditError
from knowedit.facts import Fact

if TYPE_CHECKING:
    from knowedit import linalg
    from knowedit.editing import ROME, Edit, FineTuning, make_editor
    from knowedit.evaluation import evaluate
    from knowedit.models import LanguageModel, load
    from knowedit.tracing import Trace, TraceSettings, causal_trace

__all__ = [
    "ROME",
    "Edit",
    "Fact",
    "FineTuning",
    "KnoweditError",
    "LanguageModel",
    "Trace",
    "TraceSettings",
    "__version__",
    "causal_trace",
    "evaluate",
    "linalg",
    "load",
    "make_editor",
]

_HOMES = {
    "ROME": "knowedit.editing",
    "Edit": "knowedit.editing",
    "FineTuning": "knowedit.editing",
    "LanguageModel": "knowedit.models",
    "Trace": "knowedit.tracing",
    "TraceSettings": "knowedit.tracing",
    "causal_trace": "knowedit.tracing",
    "evaluate": "knowedit.evaluation",
    "load": "knowedit.models",
    "make_editor": "knowedit.editing",
}


def __getattr__(name: str) -> Any:
    # torch and transformers take seconds to import; `from knowedit import Fact` should not.
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    if name == "linalg":
        return import_module("knowedit.linalg")
    if name == "__version__":
        return import_module("importlib.metadata").version("knowedit")
    raise AttributeError(f"module 'knowedit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
