"""Change a fact in the weights: keys, values, ROME, and the edit as a file."""

from knowedit.editing.application import Handle, applied_edits
from knowedit.editing.edit import Edit
from knowedit.editing.export import Adapter, check_folder
from knowedit.editing.keys import sample_prefixes, subject_key
from knowedit.editing.provenance import Preflight, Provenance
from knowedit.editing.rome import ROME
from knowedit.editing.statistics import collect_second_moment, save_second_moment, second_moment
from knowedit.editing.updates import DENSE, Address, Dense, Place, Update, Updates, kind_of
from knowedit.editing.values import Value, ValueSettings, optimise_value

__all__ = [
    "DENSE",
    "ROME",
    "Adapter",
    "Address",
    "Dense",
    "Edit",
    "Handle",
    "Place",
    "Preflight",
    "Provenance",
    "Update",
    "Updates",
    "Value",
    "ValueSettings",
    "applied_edits",
    "check_folder",
    "collect_second_moment",
    "kind_of",
    "optimise_value",
    "sample_prefixes",
    "save_second_moment",
    "second_moment",
    "subject_key",
]
