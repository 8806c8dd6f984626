"""Change a fact in the weights: keys, values, ROME, and the edit as a file."""

from knowedit.editing.application import Handle, applied_edits
from knowedit.editing.edit import Edit
from knowedit.editing.export import Adapter, check_folder
from knowedit.editing.keys import subject_key
from knowedit.editing.prefixes import PrefixPlan, sample_prefixes
from knowedit.editing.profiles import PROFILES, SOURCES, profile
from knowedit.editing.provenance import Preflight, Provenance
from knowedit.editing.rome import ROME
from knowedit.editing.statistics import collect_second_moment, save_second_moment, second_moment
from knowedit.editing.updates import DENSE, Address, Dense, Place, Update, Updates, kind_of
from knowedit.editing.values import Value, ValueSettings, optimise_value

__all__ = [
    "DENSE",
    "PROFILES",
    "ROME",
    "SOURCES",
    "Adapter",
    "Address",
    "Dense",
    "Edit",
    "Handle",
    "Place",
    "PrefixPlan",
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
    "profile",
    "sample_prefixes",
    "save_second_moment",
    "second_moment",
    "subject_key",
]
