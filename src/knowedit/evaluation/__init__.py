"""Put numbers on an editor: COUNTERFACT records and the scores of Table 2."""

from knowedit.evaluation.records import TEST_FILE, TRAIN_FILE, Record, load_records
from knowedit.evaluation.scores import Pair, RecordScores, pair_probabilities, score_record

__all__ = [
    "TEST_FILE",
    "TRAIN_FILE",
    "Pair",
    "Record",
    "RecordScores",
    "load_records",
    "pair_probabilities",
    "score_record",
]
