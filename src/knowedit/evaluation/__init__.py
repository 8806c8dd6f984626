"""Put numbers on an editor: COUNTERFACT records and the scores of Table 2."""

from knowedit.evaluation.records.counts import Count, Table1, check_records
from knowedit.evaluation.records.files import OFFICIAL_SHA256, checksum, verify_official
from knowedit.evaluation.records.hub import load_hub
from knowedit.evaluation.records.record import TEST_FILE, TRAIN_FILE, Record, iter_records, load_records
from knowedit.evaluation.runs.code_digest import code_digest
from knowedit.evaluation.runs.evaluate import EvaluationRun
from knowedit.evaluation.runs.evidence import Comparison, is_stale, verify
from knowedit.evaluation.runs.executors import Crew, Executor, InProcess
from knowedit.evaluation.runs.folder import Outcome, Run, read_run
from knowedit.evaluation.runs.job import EditingPlan, Plan, Station
from knowedit.evaluation.runs.methods import Method, Plain, Prepared, Unedited
from knowedit.evaluation.runs.processes import Processes
from knowedit.evaluation.runs.ray_executor import RayActors
from knowedit.evaluation.runs.rome_method import RomeMethod
from knowedit.evaluation.runs.seeds import record_generator, record_seed
from knowedit.evaluation.runs.sweep import PointScores, Sweep, SweepPoint, read_sweep, sweep_grid
from knowedit.evaluation.runs.sweep_rows import SweepRow
from knowedit.evaluation.runs.table_text import csv_text, markdown
from knowedit.evaluation.runs.tables import Row, Table, make_table, paper_rows, run_row
from knowedit.evaluation.scores.columns import COLUMNS, COMPOSITE, SCORES_VERSION, Column, harmonic_mean
from knowedit.evaluation.scores.entropy import text_entropy, words_and_marks
from knowedit.evaluation.scores.perplexity import perplexity, text_likelihoods
from knowedit.evaluation.scores.record_scores import Pair, RecordScores
from knowedit.evaluation.scores.scorer import Scorer, score_record
from knowedit.evaluation.scores.summary import summarise
from knowedit.evaluation.scores.texts import TextScorer, TextScores
from knowedit.evaluation.scores.tfidf import TfIdf
from knowedit.intervals import Interval

__all__ = [
    "COLUMNS",
    "COMPOSITE",
    "OFFICIAL_SHA256",
    "SCORES_VERSION",
    "TEST_FILE",
    "TRAIN_FILE",
    "Column",
    "Comparison",
    "Count",
    "Crew",
    "EditingPlan",
    "EvaluationRun",
    "Executor",
    "InProcess",
    "Interval",
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
    "TextScorer",
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
