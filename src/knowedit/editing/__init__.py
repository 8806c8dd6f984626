"""Change a fact in the weights: keys, values, ROME, and the edit as a file.

Everything here is imported when it is used: torch takes seconds, and the names and numbers of profiles need none of it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from knowedit.editing.editor import Editor, label_of, prepared, settings_of, version_of
    from knowedit.editing.editors import EDITORS, PROFILES, make_editor
    from knowedit.editing.edits.contradictions import contradictions
    from knowedit.editing.edits.edit import Edit, Handle, applied_edits
    from knowedit.editing.edits.export import Adapter, check_folder
    from knowedit.editing.edits.outcome import Outcome, Prediction, predictions, without_outcome
    from knowedit.editing.edits.provenance import Diagnostics, Provenance
    from knowedit.editing.edits.stack_report import StackReport, stack_report
    from knowedit.editing.edits.updates import DENSE, Address, Dense, Place, Update, Updates, kind_of
    from knowedit.editing.fine_tuning.fine_tuning import FineTuning
    from knowedit.editing.rome.keys import subject_key
    from knowedit.editing.rome.prefixes import PrefixPlan
    from knowedit.editing.rome.rome import ROME
    from knowedit.editing.rome.sources import SOURCES
    from knowedit.editing.rome.values import Value, ValueSettings, optimise_value
    from knowedit.editing.statistics.convergence import Convergence
    from knowedit.editing.statistics.corpus import Corpus, text_file
    from knowedit.editing.statistics.dataset_corpus import dataset
    from knowedit.editing.statistics.key_sums import Reading
    from knowedit.editing.statistics.run import StatisticsRun
    from knowedit.editing.statistics.second_moments import (
        collect_second_moments,
        load_second_moment,
        save_second_moment,
        second_moment,
    )

__all__ = [
    "DENSE",
    "EDITORS",
    "PROFILES",
    "ROME",
    "SOURCES",
    "Adapter",
    "Address",
    "Convergence",
    "Corpus",
    "Dense",
    "Diagnostics",
    "Edit",
    "Editor",
    "FineTuning",
    "Handle",
    "Outcome",
    "Place",
    "Prediction",
    "PrefixPlan",
    "Provenance",
    "Reading",
    "StackReport",
    "StatisticsRun",
    "Update",
    "Updates",
    "Value",
    "ValueSettings",
    "applied_edits",
    "check_folder",
    "collect_second_moments",
    "contradictions",
    "dataset",
    "kind_of",
    "label_of",
    "load_second_moment",
    "make_editor",
    "optimise_value",
    "predictions",
    "prepared",
    "save_second_moment",
    "second_moment",
    "settings_of",
    "stack_report",
    "subject_key",
    "text_file",
    "version_of",
    "without_outcome",
]

_HOMES = {
    "Handle": "edits.edit",
    "applied_edits": "edits.edit",
    "Edit": "edits.edit",
    "Editor": "editor",
    "label_of": "editor",
    "prepared": "editor",
    "settings_of": "editor",
    "version_of": "editor",
    "EDITORS": "editors",
    "PROFILES": "editors",
    "make_editor": "editors",
    "Adapter": "edits.export",
    "check_folder": "edits.export",
    "FineTuning": "fine_tuning.fine_tuning",
    "Outcome": "edits.outcome",
    "Prediction": "edits.outcome",
    "predictions": "edits.outcome",
    "without_outcome": "edits.outcome",
    "contradictions": "edits.contradictions",
    "StackReport": "edits.stack_report",
    "stack_report": "edits.stack_report",
    "Diagnostics": "edits.provenance",
    "Provenance": "edits.provenance",
    "subject_key": "rome.keys",
    "PrefixPlan": "rome.prefixes",
    "ROME": "rome.rome",
    "SOURCES": "rome.sources",
    "Value": "rome.values",
    "ValueSettings": "rome.values",
    "optimise_value": "rome.values",
    "Convergence": "statistics.convergence",
    "Corpus": "statistics.corpus",
    "text_file": "statistics.corpus",
    "dataset": "statistics.dataset_corpus",
    "load_second_moment": "statistics.second_moments",
    "StatisticsRun": "statistics.run",
    "collect_second_moments": "statistics.second_moments",
    "save_second_moment": "statistics.second_moments",
    "second_moment": "statistics.second_moments",
    "Reading": "statistics.key_sums",
    "DENSE": "edits.updates",
    "Address": "edits.updates",
    "Dense": "edits.updates",
    "Place": "edits.updates",
    "Update": "edits.updates",
    "Updates": "edits.updates",
    "kind_of": "edits.updates",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'knowedit.editing' has no attribute {name!r}")
    return getattr(import_module(f"knowedit.editing.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
