"""Scoring records beside a plain loop, in one run and one thread.

    nox -s bench -- -k evaluation        or       pytest benchmarks/test_evaluation.py -s

The plain loop scores prompt by prompt and object by object, and generates texts one by one with the cache on.
Both sides do the same work and are compared. Times are the best of the rounds, interleaved.
"""

from __future__ import annotations

import time

import pytest
import torch

import knowedit
from knowedit.evaluation import (
    TEST_FILE,
    Measures,
    TextMeasures,
    TfIdf,
    load_records,
    score_record,
    text_entropy,
)
from tests.evaluation import oracles

ROUNDS = 2
RECORDS = {"without": 10, "with": 3}


def plain(lm, record, measures):
    found = oracles.probabilities(lm, record)
    if measures.texts is not None:
        texts = oracles.texts(lm, record, measures.texts)
        oracles.essence(lm, record)
        measures.texts.tfidf.similarity(" ".join(texts), " ".join(record.reference_texts))
        list(map(text_entropy, texts))
    return [new for new, _ in found]


def ours(lm, record, measures):
    return torch.cat([pair.new for pair in score_record(lm, record, measures).groups.values()]).tolist()


@pytest.mark.slow
@pytest.mark.parametrize("generation", RECORDS)
@pytest.mark.parametrize("name", ["organism-gpt2", "organism-gptj"])
def test_a_record_is_scored_faster_than_by_a_plain_loop(name, generation, capsys):
    torch.set_num_threads(1)
    lm = knowedit.load(name)
    records = load_records(lm.folder / TEST_FILE)[: RECORDS[generation]]
    tfidf = TfIdf.fit([text for record in records for text in record.reference_texts])
    # Greedy and to the full length, so that both sides generate the same tokens.
    texts = TextMeasures(tfidf, top_k=None, stop_at_end=False) if generation == "with" else None
    best, results = dict.fromkeys(("ours", "plain"), float("inf")), {}
    for way in (ours, plain) * ROUNDS:
        begin = time.perf_counter()
        results[way.__name__] = [way(lm, record, Measures(texts=texts)) for record in records]
        best[way.__name__] = min(best[way.__name__], time.perf_counter() - begin)
    for found, expected in zip(results["ours"], results["plain"], strict=True):
        assert found == pytest.approx(expected, abs=1e-5 * max(expected))
    rates = {way: len(records) / seconds for way, seconds in best.items()}
    ratio = rates["ours"] / rates["plain"]
    with capsys.disabled():
        print(f"\n{name}, {generation} generation: ", end="")
        print(f"{rates['ours']:.2f} records/s, plain loop {rates['plain']:.2f}, ratio {ratio:.1f}")
    assert ratio > 1
