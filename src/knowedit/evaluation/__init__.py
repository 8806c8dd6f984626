"""Put numbers on an editor: COUNTERFACT records and the scores of Table 2."""

from knowedit.evaluation.columns import COLUMNS, COMPOSITE, Column, harmonic_mean
from knowedit.evaluation.entropy import ngram_entropy, text_entropy, words_and_marks
from knowedit.evaluation.intervals import Interval
from knowedit.evaluation.measures import Measures, TextMeasures
from knowedit.evaluation.perplexity import TextLikelihood, perplexity, text_likelihoods
from knowedit.evaluation.records import TEST_FILE, TRAIN_FILE, Record, load_records
from knowedit.evaluation.scores import Pair, RecordScores, pair_probabilities, score_record
from knowedit.evaluation.summary import paired_difference, summarise
from knowedit.evaluation.texts import TextScores
from knowedit.evaluation.tfidf import TfIdf

__all__ = [
    "COLUMNS",
    "COMPOSITE",
    "TEST_FILE",
    "TRAIN_FILE",
    "Column",
    "Interval",
    "Measures",
    "Pair",
    "Record",
    "RecordScores",
    "TextLikelihood",
    "TextMeasures",
    "TextScores",
    "TfIdf",
    "harmonic_mean",
    "load_records",
    "ngram_entropy",
    "pair_probabilities",
    "paired_difference",
    "perplexity",
    "score_record",
    "summarise",
    "text_entropy",
    "text_likelihoods",
    "words_and_marks",
]
