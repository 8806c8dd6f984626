"""Put numbers on an editor: COUNTERFACT records and the scores of Table 2."""

from knowedit.evaluation.records.record import TEST_FILE, TRAIN_FILE, Record, iter_records, load_records
from knowedit.evaluation.runs.evaluate import evaluate
from knowedit.evaluation.runs.evidence import Stale, verify
from knowedit.evaluation.runs.paper_table import paper_rows
from knowedit.evaluation.runs.run import Run, read_run
from knowedit.evaluation.runs.station import EvaluationJob
from knowedit.evaluation.runs.sweep import Sweep
from knowedit.evaluation.runs.sweep_points import best, read_sweep
from knowedit.evaluation.runs.tables import Table, make_table, run_row
from knowedit.evaluation.scores.columns import COLUMNS, SCORES_VERSION
from knowedit.evaluation.scores.record_scores import RecordScores
from knowedit.evaluation.scores.scorer import Scorer, score_record
from knowedit.evaluation.scores.summary import summarise
from knowedit.evaluation.scores.texts import TextScorer
from knowedit.evaluation.scores.tfidf import TfIdf

__all__ = [
    "COLUMNS",
    "SCORES_VERSION",
    "TEST_FILE",
    "TRAIN_FILE",
    "EvaluationJob",
    "Record",
    "RecordScores",
    "Run",
    "Scorer",
    "Stale",
    "Sweep",
    "Table",
    "TextScorer",
    "TfIdf",
    "best",
    "evaluate",
    "iter_records",
    "load_records",
    "make_table",
    "paper_rows",
    "read_run",
    "read_sweep",
    "run_row",
    "score_record",
    "summarise",
    "verify",
]
