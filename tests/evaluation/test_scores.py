from __future__ import annotations

import json
import math

import pytest
import torch

from knowedit.errors import FileFormatError, InputError
from knowedit.evaluation import Record, RecordScores, load_records, score_record
from knowedit.evaluation.scores.record_scores import Pair
from tests.models.oracles import full_logits

RECORD = {
    "case_id": 7,
    "requested_rewrite": {
        "prompt": "{} plays the",
        "relation_id": "P1303",
        "target_new": {"str": "piano"},
        "target_true": {"str": "trumpet"},
        "subject": "Miles Davis",
    },
    "paraphrase_prompts": ["Miles Davis performs on the", "In Paris, Miles Davis plays the"],
    "neighborhood_prompts": ["Glenn Gould plays the", "Edmund Neupert plays the", "Marie Curie plays the"],
    "generation_prompts": ["Miles Davis"],
    "reference_texts": ["The piano."],
    "essence_texts": ["Miles Davis."],
}


def slow_probability(lm, prompt, target) -> float:
    """Token by token, one whole forward each."""
    ids, log = lm.tokenizer(prompt)["input_ids"], 0.0
    for token in lm.tokenizer(" " + target)["input_ids"]:
        log += float(full_logits(lm, ids)[-1].log_softmax(-1)[token])
        ids = [*ids, token]
    return math.exp(log)


def test_probabilities_are_joint_and_of_the_right_prompt(family):
    prompts = RECORD["neighborhood_prompts"]
    pair = Pair.measure(family, prompts, "piano", "trumpet")
    for i, prompt in enumerate(prompts):
        assert float(pair.new[i]) == pytest.approx(slow_probability(family, prompt, "piano"), rel=1e-3)
        assert float(pair.true[i]) == pytest.approx(slow_probability(family, prompt, "trumpet"), rel=1e-3)


def test_a_record_is_scored_group_by_group(family):
    record = Record.from_json(RECORD)
    scores = score_record(family, record)
    groups = [
        ((record.fact.text,), scores.prompt),
        (record.paraphrase_prompts, scores.paraphrases),
        (record.neighborhood_prompts, scores.neighborhood),
    ]
    for prompts, pair in groups:
        expected = [slow_probability(family, prompt, "piano") for prompt in prompts]
        assert pair.new.tolist() == pytest.approx(expected, rel=1e-3)


def test_columns_on_a_hand_computed_case():
    """Eqn. 9 and 10; in NS and NM the old object is the good answer."""
    t = torch.tensor
    scores = RecordScores(
        prompt=Pair(t([0.9]).double(), t([0.05]).double()),
        paraphrases=Pair(t([0.6, 0.1]).double(), t([0.2, 0.4]).double()),
        neighborhood=Pair(t([0.1, 0.5, 0.2, 0.0]).double(), t([0.7, 0.4, 0.2, 0.6]).double()),
    )
    expected = {"ES": 1.0, "EM": 0.85, "PS": 0.5, "PM": 0.05, "NS": 0.5, "NM": 0.275}
    assert {key: scores.columns[key] for key in expected} == pytest.approx(expected, abs=1e-6)
    assert [key for key, value in scores.columns.items() if value is None] == ["GE", "RS", "Essence"]


def test_ties_are_no_success_for_either():
    same = Pair(torch.tensor([0.3]), torch.tensor([0.3]))
    assert same.success == 0
    assert RecordScores(same, same, same).columns["NS"] == 0


def test_an_empty_list_of_prompts_leaves_its_columns_not_measured(family):
    """MEMIT's multi_counterfact has empty lists of paraphrases."""
    whole = score_record(family, Record.from_json(RECORD)).columns
    for field, lost in (("paraphrase_prompts", ("PS", "PM")), ("neighborhood_prompts", ("NS", "NM"))):
        found = score_record(family, Record.from_json(RECORD | {field: []})).columns
        assert [key for key in whole if whole[key] is not None and found[key] is None] == list(lost)
        assert found["EM"] == pytest.approx(whole["EM"], abs=1e-6)


def test_records_are_read_in_the_official_schema(tmp_path):
    path = tmp_path / "r.json"
    path.write_text(json.dumps([RECORD]))
    (record,) = load_records(path)
    assert record.fact.text == "Miles Davis plays the"
    assert (record.fact.target_new, record.fact.target_true) == ("piano", "trumpet")
    assert record.fact.relation == "P1303"


def test_bad_record_files(tmp_path):
    with pytest.raises(InputError, match="no file"):
        load_records(tmp_path / "none.json")
    path = tmp_path / "r.json"
    for text, words in (("[{", "not JSON"), ('{"a": 1}', "holds a dict")):
        path.write_text(text)
        with pytest.raises(FileFormatError, match=words):
            load_records(path)
    path.write_text(json.dumps([{"case_id": 1}]))
    with pytest.raises(InputError, match="requested_rewrite"):
        load_records(path)
