from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from knowedit.errors import FileFormatError, InputError
from knowedit.evaluation import (
    COLUMNS,
    SCORES_VERSION,
    Record,
    RecordScores,
    Scorer,
    TextScorer,
    TfIdf,
    score_record,
    summarise,
)
from knowedit.evaluation.scores.columns import COMPOSITE, harmonic_mean
from knowedit.evaluation.scores.entropy import text_entropy
from knowedit.evaluation.scores.record_scores import Pair
from knowedit.evaluation.scores.texts import TextScores
from knowedit.intervals import Interval
from tests.evaluation import oracles
from tests.evaluation.test_scores import RECORD

TFIDF = TfIdf.fit(["the piano", "a trumpet plays", "Miles Davis"])
GREEDY = TextScorer(TFIDF, new_tokens=8, top_k=None, stop_at_end=False)
P = st.lists(st.floats(0, 1), min_size=1, max_size=4)


def record(**fields):
    prompts = {"generation_prompts": ["Miles Davis", "In Paris, Miles Davis is", "The"]}
    return Record.from_json(RECORD | prompts | fields)


def close(found, expected):
    expected = torch.tensor(expected, dtype=torch.float64)
    assert float((found - expected).abs().max()) <= 1e-5 * float(expected.abs().max())


@pytest.mark.parametrize("probability", ["joint", "per-token"])
def test_a_record_equals_the_plain_loop(family, probability):
    """Among them objects of which one begins the other, and of unequal lengths."""
    for new in ("piano", "trumpet music", "New York City piano"):
        request = RECORD["requested_rewrite"] | {"target_new": {"str": new}}
        one = record(requested_rewrite=request)
        found = score_record(family, one, Scorer(probability))
        pairs = [found.prompt, found.paraphrases, found.neighborhood]
        expected = oracles.probabilities(family, one, per_token=probability == "per-token")
        close(torch.cat([pair.new for pair in pairs]), [new for new, _ in expected])
        close(torch.cat([pair.true for pair in pairs]), [true for _, true in expected])


def test_generated_texts_and_essence_equal_the_plain_loop(tiny_gpt2, tiny_gptj):
    for lm in (tiny_gpt2, tiny_gptj):
        one = record(essence_texts=["Miles Davis plays.", "Davis was born in Paris"])
        texts = score_record(lm, one, Scorer(texts=GREEDY)).texts
        assert list(texts.generated) == oracles.texts(lm, one, GREEDY)
        assert texts.entropies == tuple(map(text_entropy, texts.generated))
        references = " ".join(one.reference_texts)
        assert texts.consistency == TFIDF.similarity(" ".join(texts.generated), references)
        for part, (log, predicted) in zip(texts.essence, oracles.essence(lm, one), strict=True):
            assert part[1] == predicted
            assert part[0] == pytest.approx(log, rel=1e-5)


def test_drawn_text_follows_the_generator_and_nothing_else(tiny_gpt2):
    drawn = Scorer(texts=replace(GREEDY, top_k=5, samples=2))
    seeded = lambda seed: torch.Generator().manual_seed(seed)  # noqa: E731
    first, second, other = (
        score_record(tiny_gpt2, record(), drawn, generator=seeded(seed)).texts.generated for seed in (1, 1, 2)
    )
    assert first == second != other
    assert len(first) == 6
    with pytest.raises(InputError, match="give a generator"):
        score_record(tiny_gpt2, record(), drawn)


def test_the_prompt_can_be_left_out_of_the_text(tiny_gpt2):
    whole, bare = (
        score_record(tiny_gpt2, record(), Scorer(texts=replace(GREEDY, with_prompt=kept))).texts.generated
        for kept in (True, False)
    )
    assert whole == tuple(
        prompt + text for prompt, text in zip(record().generation_prompts, bare, strict=True)
    )


def test_essence_is_of_the_subject_and_not_of_the_target(tiny_gpt2):
    """The released code looks the texts up under the new object, so that the score is always missing."""
    texts = ["Miles Davis plays."]
    found = [
        score_record(
            tiny_gpt2,
            record(
                essence_texts=texts,
                requested_rewrite=RECORD["requested_rewrite"] | {"target_new": {"str": new}},
            ),
            Scorer(texts=GREEDY),
        ).value("Essence")
        for new in ("piano", "music")
    ]
    assert found[0] == pytest.approx(found[1], rel=1e-5)


MISSING = {
    "paraphrase_prompts": {"PS", "PM"},
    "neighborhood_prompts": {"NS", "NM"},
    "generation_prompts": {"GE", "RS"},
    "reference_texts": {"RS"},
    "essence_texts": {"Essence"},
}


@pytest.mark.parametrize("field", MISSING)
def test_what_a_record_lacks_is_not_measured(tiny_gpt2, field):
    one = replace(record(), **{field: None})
    scores = score_record(tiny_gpt2, one, Scorer(texts=GREEDY))
    assert {key for key, value in scores.columns.items() if value is None} == MISSING[field]
    with pytest.raises(InputError, match="NOT MEASURED"):
        scores.value(min(MISSING[field]))
    assert RecordScores.from_json(json.loads(json.dumps(scores.to_json()))).columns == scores.columns


def made(case_id, new, true, texts=None):
    pair = Pair(torch.tensor(new, dtype=torch.float64), torch.tensor(true, dtype=torch.float64))
    return RecordScores(pair, pair, pair, texts, case_id=case_id)


TEXT = TextScores((1.5, 0.1), 0.1 + 0.2, ((-1.1, 3),), ("one", "two"))


@given(P)
def test_scores_survive_json_bit_for_bit_with_or_without_texts(values):
    scores = made(3, values, values[::-1], TEXT)
    for generated in (("one", "two"), None):
        given = replace(scores, texts=replace(TEXT, generated=generated))
        again = RecordScores.from_json(json.loads(json.dumps(given.to_json())))
        assert again.columns == scores.columns
        assert again.prompt.new.tolist() == values
        assert again.texts == given.texts


def test_lines_of_the_first_version_are_read_and_written_as_they_are():
    files = sorted((Path(__file__).parents[1] / "data" / "v0.1.0").glob("run-*/records.jsonl"))
    for line in [line for file in files for line in file.read_text().splitlines()]:
        scores = json.loads(line)["scores"]
        assert RecordScores.from_json(scores).to_json() == scores
    assert files


def test_the_identity_of_a_scorer_is_json_with_all_settings_and_the_version():
    found = Scorer(texts=GREEDY).identity
    assert json.loads(json.dumps(found)) == found
    assert found["version"] == SCORES_VERSION
    assert found["texts"].keys() == {item.name for item in fields(TextScorer)}
    assert found["texts"]["tfidf"] == TFIDF.digest
    assert Scorer().identity == {"version": SCORES_VERSION, "probability": "joint", "texts": None}


def test_bad_json_of_scores_is_refused():
    entry = made(1, [0.5], [0.2]).to_json()
    for broken in ({}, entry | {"prompt": None}, {k: v for k, v in entry.items() if k != "texts"}):
        with pytest.raises(FileFormatError, match="score the record again"):
            RecordScores.from_json(broken)


@given(P, st.randoms())
def test_columns_are_bounded_and_do_not_depend_on_the_order_of_prompts(values, random):
    pairs = [(value, random.random()) for value in values]
    shuffled = random.sample(pairs, len(pairs))
    first, second = (made(0, *map(list, zip(*order, strict=True))).columns for order in (pairs, shuffled))
    for key in ("ES", "PS", "NS"):
        assert 0 <= first[key] <= 1
        assert first[key] == pytest.approx(second[key])
    for key in ("EM", "PM", "NM"):
        assert -1 <= first[key] <= 1
        assert first[key] == pytest.approx(second[key], abs=1e-12)


@given(st.floats(0, 0.5), st.floats(0, 0.4), st.floats(0.001, 0.1))
def test_more_of_the_new_object_is_better_except_in_the_neighbourhood(new, true, more):
    before, after = made(0, [new], [true]).columns, made(0, [new + more], [true]).columns
    for key in ("ES", "EM", "PS", "PM"):
        assert after[key] >= before[key]
    assert after["NS"] <= before["NS"]
    assert after["NM"] < before["NM"]


MANY = [
    made(i, [0.1 * i], [0.45], TextScores((1.0 + 0.1 * i,), None if i % 2 else 0.25, ())) for i in range(9)
]


@pytest.mark.parametrize(
    ("method", "found_by"), [("bootstrap", {"student", "wilson"}), ("normal", {"normal"})]
)
def test_a_summary_does_not_depend_on_the_order_of_records(method, found_by):
    found = [summarise(order, np.random.default_rng(0), method=method) for order in (MANY, MANY[::-1])]
    assert found[0] == found[1]
    assert {one.method for one in found[0].values()} == found_by


def test_a_summary_counts_what_is_measured():
    found = summarise(MANY, np.random.default_rng(0))
    assert found["ES"].n == 9
    assert found["ES"].mean == pytest.approx(4 / 9)
    assert found["RS"].n == 5
    assert "Essence" not in found
    alone = summarise(MANY[:1], np.random.default_rng(0))["ES"]
    assert (alone.low, alone.high, alone.n) == (-np.inf, np.inf, 1)
    with pytest.raises(InputError, match="bootstrap or normal"):
        summarise(MANY, np.random.default_rng(0), method="std")


def test_the_normal_interval_is_not_the_standard_deviation():
    """Four values of standard deviation s: the half width is 1.96 s / 2."""
    values = [1.0, 2.0, 3.0, 6.0]
    found = Interval.normal(values)
    half = 1.959964 * np.std(values, ddof=1) / 2
    assert (found.mean, found.low, found.high) == pytest.approx((3.0, 3 - half, 3 + half))


def test_differences_are_paired_by_record():
    better = [made(one.case_id, (one.prompt.new + 0.125).tolist(), [0.45]) for one in MANY]
    found = summarise(better[::-1], np.random.default_rng(0), minus=MANY)["EM"]
    assert found.mean == pytest.approx(0.125)
    assert found.low < 0 < found.high < 2, "nine equal differences do not show that all are equal"
    for wrong in (MANY[:-1], [*MANY, MANY[0]], [replace(MANY[0], case_id=None)]):
        with pytest.raises(InputError, match=r"pairs (need|are)"):
            summarise(wrong, np.random.default_rng(0), minus=MANY)


def test_the_composite_is_marked_as_not_in_v1():
    assert harmonic_mean({"ES": 1.0, "PS": 0.5, "NS": 0.5}) == pytest.approx(0.6)
    assert harmonic_mean({"ES": 1.0, "PS": 0.0, "NS": 0.5}) == 0
    assert harmonic_mean({"ES": 1.0, "PS": 0.5, "NS": None}) is None
    assert not COMPOSITE.in_v1
    assert all(column.in_v1 for column in COLUMNS.values())
    assert [key for key, column in COLUMNS.items() if column.better == "lower"] == ["Essence"]
    assert tuple(COLUMNS) == ("ES", "EM", "PS", "PM", "NS", "NM", "GE", "RS", "Essence")


def test_scorers_that_make_no_sense_are_refused():
    for wrong in ({"new_tokens": 0}, {"samples": 2, "top_k": None}, {"top_k": 0}):
        with pytest.raises(InputError):
            TextScorer(TFIDF, **wrong)
    with pytest.raises(InputError, match="joint or per-token"):
        Scorer("geometric")
