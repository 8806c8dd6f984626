"""Put numbers on an editor: COUNTERFACT records and the scores of Table 2."""

from knowedit.evaluation.checking import Check, check_records
from knowedit.evaluation.counts import Count, Table1
from knowedit.evaluation.hub_records import load_hub
from knowedit.evaluation.record_files import OFFICIAL_SHA256, checksum, verify_official
from knowedit.evaluation.records import TEST_FILE, TRAIN_FILE, Record, iter_records, load_records
from knowedit.evaluation.scores import Pair, RecordScores, pair_probabilities, score_record

__all__ = [
    "OFFICIAL_SHA256",
    "TEST_FILE",
    "TRAIN_FILE",
    "Check",
    "Count",
    "Pair",
    "Record",
    "RecordScores",
    "Table1",
    "check_records",
    "checksum",
    "iter_records",
    "load_hub",
    "load_records",
    "pair_probabilities",
    "score_record",
    "verify_official",
]
