"""Change a fact in the weights: keys, values, ROME, and the edit as a file."""

from knowedit.editing.convergence import Convergence, compare_halves
from knowedit.editing.corpus import Corpus, jsonl_file, shuffled, text_file, text_list
from knowedit.editing.dataset_corpus import dataset
from knowedit.editing.edit import Address, Edit, Preflight, Provenance
from knowedit.editing.keys import sample_prefixes, subject_key
from knowedit.editing.moment_files import load_second_moment
from knowedit.editing.rome import ROME
from knowedit.editing.statistics import (
    collect_second_moment,
    collect_second_moments,
    save_second_moment,
    second_moment,
)
from knowedit.editing.statistics_run import StatisticsRun
from knowedit.editing.text_chunks import Reading
from knowedit.editing.values import Value, ValueSettings, optimise_value

__all__ = [
    "ROME",
    "Address",
    "Convergence",
    "Corpus",
    "Edit",
    "Preflight",
    "Provenance",
    "Reading",
    "StatisticsRun",
    "Value",
    "ValueSettings",
    "collect_second_moment",
    "collect_second_moments",
    "compare_halves",
    "dataset",
    "jsonl_file",
    "load_second_moment",
    "optimise_value",
    "sample_prefixes",
    "save_second_moment",
    "second_moment",
    "shuffled",
    "subject_key",
    "text_file",
    "text_list",
]
