"""Change a fact in the weights: keys, values, ROME, and the edit as a file."""

from knowedit.editing.edit import Address, Edit, Preflight, Provenance
from knowedit.editing.keys import subject_key
from knowedit.editing.prefixes import PrefixPlan, sample_prefixes
from knowedit.editing.profiles import PROFILES, SOURCES, profile
from knowedit.editing.rome import ROME
from knowedit.editing.statistics import collect_second_moment, save_second_moment, second_moment
from knowedit.editing.values import Value, ValueSettings, optimise_value

__all__ = [
    "PROFILES",
    "ROME",
    "SOURCES",
    "Address",
    "Edit",
    "PrefixPlan",
    "Preflight",
    "Provenance",
    "Value",
    "ValueSettings",
    "collect_second_moment",
    "optimise_value",
    "profile",
    "sample_prefixes",
    "save_second_moment",
    "second_moment",
    "subject_key",
]
