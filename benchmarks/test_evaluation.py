"""Scoring records beside a plain loop, in one run and one thread.

    nox -s bench -- -k evaluation        or       pytest benchmarks/test_evaluation.py -s

The plain loop scores prompt by prompt and object by object, and generates texts one by one by the library's
``generate`` with its cache on. Both sides do the same work and are compared. Times are the best of the rounds,
interleaved. The organisms' records have three generation prompts; those of ``counterfact.json`` have ten, three of
them distinct, and the more texts a step advances, the more is gained.
"""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
import torch

import knowedit
from knowedit.evaluation import TEST_FILE, Scorer, TextScorer, TfIdf, load_records, score_record
from knowedit.evaluation.scores.entropy import text_entropy
from tests.evaluation import oracles

ROUNDS = 2
RECORDS = {"no texts": 10, "three texts": 3, "ten texts": 1}


def library_texts(lm, prompts, count):
    """Greedy text after each prompt on its own."""
    options = {
        "min_new_tokens": count,
        "max_new_tokens": count,
        "do_sample": False,
        "pad_token_id": lm.end_id,
    }
    return [
        lm.tokenizer.decode(lm.model.generate(**lm.tokenizer(prompt, return_tensors="pt"), **options)[0])
        for prompt in prompts
    ]


def plain(lm, record, scorer):
    found = oracles.probabilities(lm, record)
    if scorer.texts is not None:
        texts = library_texts(lm, record.generation_prompts, scorer.texts.new_tokens)
        oracles.essence(lm, record)
        scorer.texts.tfidf.similarity(" ".join(texts), " ".join(record.reference_texts))
        list(map(text_entropy, texts))
    return [new for new, _ in found]


def ours(lm, record, scorer):
    return torch.cat([pair.new for pair in score_record(lm, record, scorer).groups.values()]).tolist()


@pytest.mark.slow
@pytest.mark.parametrize("generation", RECORDS)
@pytest.mark.parametrize("name", ["organism-gpt2", "organism-gptj"])
def test_a_record_is_scored_faster_than_by_a_plain_loop(name, generation, capsys):
    torch.set_num_threads(1)
    lm = knowedit.load(name)
    records = load_records(lm.folder / TEST_FILE)[: RECORDS[generation]]
    if generation == "ten texts":
        records = [replace(one, generation_prompts=(one.generation_prompts * 4)[:10]) for one in records]
    tfidf = TfIdf.fit([text for record in records for text in record.reference_texts])
    # Greedy and to the full length, so that both sides generate the same tokens.
    texts = TextScorer(tfidf, top_k=None, stop_at_end=False) if generation != "no texts" else None
    best, results = dict.fromkeys(("ours", "plain"), float("inf")), {}
    for way in (ours, plain) * ROUNDS:
        begin = time.perf_counter()
        results[way.__name__] = [way(lm, record, Scorer(texts=texts)) for record in records]
        best[way.__name__] = min(best[way.__name__], time.perf_counter() - begin)
    for found, expected in zip(results["ours"], results["plain"], strict=True):
        assert found == pytest.approx(expected, abs=1e-5 * max(expected))
    rates = {way: len(records) / seconds for way, seconds in best.items()}
    ratio = rates["ours"] / rates["plain"]
    with capsys.disabled():
        print(f"\n{name}, {generation}: ", end="")
        print(f"{rates['ours']:.2f} records/s, plain loop {rates['plain']:.2f}, ratio {ratio:.1f}")
    assert ratio > 1
