"""Put numbers on an editor: COUNTERFACT records and the scores of Table 2."""

from knowedit.evaluation.checking import Check, check_records
from knowedit.evaluation.columns import COLUMNS, COMPOSITE, Column, harmonic_mean
from knowedit.evaluation.counts import Count, Table1
from knowedit.evaluation.entropy import ngram_entropy, text_entropy, words_and_marks
from knowedit.evaluation.hub_records import load_hub
from knowedit.evaluation.intervals import Interval
from knowedit.evaluation.measures import Measures, TextMeasures
from knowedit.evaluation.perplexity import TextLikelihood, perplexity, text_likelihoods
from knowedit.evaluation.record_files import OFFICIAL_SHA256, checksum, verify_official
from knowedit.evaluation.records import TEST_FILE, TRAIN_FILE, Record, iter_records, load_records
from knowedit.evaluation.scores import Pair, RecordScores, pair_probabilities, score_record
from knowedit.evaluation.summary import paired_difference, summarise
from knowedit.evaluation.texts import TextScores
from knowedit.evaluation.tfidf import TfIdf

__all__ = [
    "COLUMNS",
    "COMPOSITE",
    "OFFICIAL_SHA256",
    "TEST_FILE",
    "TRAIN_FILE",
    "Check",
    "Column",
    "Count",
    "Interval",
    "Measures",
    "Pair",
    "Record",
    "RecordScores",
    "Table1",
    "TextLikelihood",
    "TextMeasures",
    "TextScores",
    "TfIdf",
    "check_records",
    "checksum",
    "harmonic_mean",
    "iter_records",
    "load_hub",
    "load_records",
    "ngram_entropy",
    "pair_probabilities",
    "paired_difference",
    "perplexity",
    "score_record",
    "summarise",
    "text_entropy",
    "text_likelihoods",
    "verify_official",
    "words_and_marks",
]
