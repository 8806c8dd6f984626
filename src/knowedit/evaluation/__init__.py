"""Put numbers on an editor: COUNTERFACT records and the scores of Table 2."""

from knowedit.evaluation.checking import Check, check_records
from knowedit.evaluation.code_digest import code_digest
from knowedit.evaluation.columns import COLUMNS, COMPOSITE, Column, harmonic_mean
from knowedit.evaluation.counts import Count, Table1
from knowedit.evaluation.entropy import ngram_entropy, text_entropy, words_and_marks
from knowedit.evaluation.evidence import Comparison, is_stale, verify
from knowedit.evaluation.executors import Crew, Executor, InProcess
from knowedit.evaluation.hub_records import load_hub
from knowedit.evaluation.measures import Measures, TextMeasures
from knowedit.evaluation.measuring import EditingPlan, Plan, Station
from knowedit.evaluation.methods import Method, Plain, Prepared, Unedited
from knowedit.evaluation.perplexity import TextLikelihood, perplexity, text_likelihoods
from knowedit.evaluation.processes import Processes
from knowedit.evaluation.ray_executor import RayActors
from knowedit.evaluation.record_files import OFFICIAL_SHA256, checksum, verify_official
from knowedit.evaluation.record_seeds import record_generator, record_seed
from knowedit.evaluation.records import TEST_FILE, TRAIN_FILE, Record, iter_records, load_records
from knowedit.evaluation.rome_method import RomeMethod
from knowedit.evaluation.run import EvaluationRun
from knowedit.evaluation.run_folder import Outcome, Run, read_run
from knowedit.evaluation.scores import Pair, RecordScores, pair_probabilities, score_record
from knowedit.evaluation.scoring import Scorer, Table2Scores
from knowedit.evaluation.summary import paired_difference, summarise
from knowedit.evaluation.sweep_rows import SweepRow
from knowedit.evaluation.sweeps import PointScores, Sweep, SweepPoint, read_sweep, sweep_grid
from knowedit.evaluation.table_text import csv_text, markdown
from knowedit.evaluation.tables import Row, Table, make_table, paper_rows, run_row
from knowedit.evaluation.texts import TextScores
from knowedit.evaluation.tfidf import TfIdf
from knowedit.intervals import Interval

__all__ = [
    "COLUMNS",
    "COMPOSITE",
    "OFFICIAL_SHA256",
    "TEST_FILE",
    "TRAIN_FILE",
    "Check",
    "Column",
    "Comparison",
    "Count",
    "Crew",
    "EditingPlan",
    "EvaluationRun",
    "Executor",
    "InProcess",
    "Interval",
    "Measures",
    "Method",
    "Outcome",
    "Pair",
    "Plain",
    "Plan",
    "PointScores",
    "Prepared",
    "Processes",
    "RayActors",
    "Record",
    "RecordScores",
    "RomeMethod",
    "Row",
    "Run",
    "Scorer",
    "Station",
    "Sweep",
    "SweepPoint",
    "SweepRow",
    "Table",
    "Table1",
    "Table2Scores",
    "TextLikelihood",
    "TextMeasures",
    "TextScores",
    "TfIdf",
    "Unedited",
    "check_records",
    "checksum",
    "code_digest",
    "csv_text",
    "harmonic_mean",
    "is_stale",
    "iter_records",
    "load_hub",
    "load_records",
    "make_table",
    "markdown",
    "ngram_entropy",
    "pair_probabilities",
    "paired_difference",
    "paper_rows",
    "perplexity",
    "read_run",
    "read_sweep",
    "record_generator",
    "record_seed",
    "run_row",
    "score_record",
    "summarise",
    "sweep_grid",
    "text_entropy",
    "text_likelihoods",
    "verify",
    "verify_official",
    "words_and_marks",
]
