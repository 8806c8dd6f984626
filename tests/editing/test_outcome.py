"""What the edited model predicts, as an edit holds it, against plain forwards one token at a time."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

import knowedit
from knowedit.editing import (
    PROFILES,
    ROME,
    Edit,
    FineTuning,
    Outcome,
    Prediction,
    collect_second_moments,
    predictions,
    without_outcome,
)
from knowedit.editing.statistics.corpus import text_file
from knowedit.errors import InputError, NumericalError
from knowedit.evaluation.records.record import Record
from knowedit.evaluation.runs.station import EvaluationJob, EvaluationStation
from knowedit.facts import Fact
from knowedit.models import target_ids
from knowedit.reading import checked
from tests.editing import oracles
from tests.editing.conftest import FACT, PREFIXES, changed, low_rank, moment_of, plain_edit, state, storages
from tests.models.oracles import full_logits

DIARY = Fact("Zosel Pel", "The diary of {} is written in", "Korean", "Swiss German")


def greedy(lm, ids, count):
    ids = list(ids)
    for _ in range(count):
        ids.append(int(full_logits(lm, ids)[-1].argmax()))
    return ids[-count:]


def chance(lm, head, ids):
    total = 1.0
    for at, token in enumerate(ids):
        total *= float(full_logits(lm, [*head, *ids[:at]])[-1].double().softmax(-1)[token])
    return total


def slow(lm, fact: Fact) -> Prediction:
    head = lm.tokenizer(fact.text)["input_ids"]
    new = target_ids(lm.tokenizer, fact.text, fact.target_new)
    true = [] if fact.target_true is None else target_ids(lm.tokenizer, fact.text, fact.target_true)
    order = full_logits(lm, head)[-1].argsort(descending=True).tolist()
    found = greedy(lm, head, max(len(new), len(true)))
    shown = next((ids for ids in (new, true) if ids and found[: len(ids)] == ids), found)
    return Prediction(
        new=chance(lm, head, new),
        true=chance(lm, head, true) if true else None,
        rank=order.index(new[0]) + 1,
        text=lm.tokenizer.decode(shown).strip(),
        is_new=found[: len(new)] == new,
    )


def check(found: Prediction, expected: Prediction) -> None:
    assert found.new == pytest.approx(expected.new, rel=1e-3)
    assert found.true == (None if expected.true is None else pytest.approx(expected.true, rel=1e-3))
    assert (found.rank, found.text, found.is_new) == (expected.rank, expected.text, expected.is_new)


def several() -> list[Fact]:
    """Objects of one and of many tokens; known true objects and none."""
    return [
        FACT,
        replace(FACT, target_new="Warsaw in Poland", target_true="trumpet"),
        replace(FACT, target_true="the city of Paris"),
        Fact("Marie Curie", "The mother tongue of {} is", "French", "Polish"),
    ]


def test_predictions_are_those_of_plain_forwards(family):
    facts = several()
    for found, fact in zip(predictions(family, facts), facts, strict=True):
        check(found, slow(family, fact))


def test_what_greedy_decoding_gives_is_named_as_new_or_true(tiny_gpt2):
    edit = FineTuning(layer=1, learning_rate=0.05, max_steps=100).edit(tiny_gpt2, [FACT])
    assert edit.outcome.took
    assert edit.warnings() == []
    with edit.applied(tiny_gpt2):
        new, true = predictions(
            tiny_gpt2,
            [replace(FACT, target_true="Warsaw"), replace(FACT, target_new="Warsaw", target_true="piano")],
        )
    assert (new.is_new, new.text, new.rank, true.is_new, true.text) == (True, "piano", 1, False, "piano")
    assert (new.new, new.true) == pytest.approx((true.true, true.new))
    assert new.new > 0.5 > true.new


def test_many_facts_are_read_in_parts(tiny_gpt2):
    facts = [replace(FACT, target_new=f"piano {n}") for n in range(70)]
    found = predictions(tiny_gpt2, facts)
    for at in (0, 31, 32, 69):
        check(found[at], slow(tiny_gpt2, facts[at]))
    assert predictions(tiny_gpt2, []) == ()


def test_a_true_object_that_cannot_follow_is_not_known_and_a_new_one_is_refused(tiny_gpt2):
    assert predictions(tiny_gpt2, [replace(FACT, target_true=" ")])[0].true is None
    with pytest.raises(InputError, match="changes when"):
        predictions(tiny_gpt2, [replace(FACT, prompt="{} plays the ")])


def test_logits_that_are_not_finite_predict_nothing(fresh_lm):
    lm = fresh_lm("gpt2")
    lm.module("final_norm").weight.data[0] = float("nan")
    with pytest.raises(NumericalError, match="NaN or infinite, first in the output of the head"):
        predictions(lm, [FACT])


def test_an_edit_holds_what_the_model_predicts_before_and_with_it(family):
    """Also on top of another edit, which is there both times."""
    with plain_edit(family, {(2, "mlp_down"): low_rank(family, 2, "mlp_down", seed=5)}).applied(family):
        before = slow(family, FACT)
        edit = plain_edit(family, {(1, "mlp_down"): low_rank(family, 1, "mlp_down")})
        with edit.applied(family):
            after = slow(family, FACT)
        assert edit.measured(family) == edit.outcome
    check(edit.outcome.before[0], before)
    check(edit.outcome.after[0], after)
    assert before.new != pytest.approx(after.new, rel=1e-2)


def test_measuring_leaves_model_and_random_numbers_as_they_were(family):
    before, where, drawn = state(family), storages(family), torch.random.get_rng_state()
    plain_edit(family, {(1, "mlp_down"): low_rank(family, 1, "mlp_down")})
    assert (changed(family, before), storages(family)) == ([], where)
    assert torch.equal(torch.random.get_rng_state(), drawn)
    assert not [name for name in vars(family.model) if "knowedit" in name]


def test_the_file_keeps_the_outcome_and_the_digest_covers_it(tiny_gpt2, tmp_path):
    edit = plain_edit(tiny_gpt2, {(1, "mlp_down"): low_rank(tiny_gpt2, 1, "mlp_down")})
    edit.save(tmp_path / "e")
    loaded = Edit.load(tmp_path / "e")
    assert loaded.outcome == edit.outcome
    assert loaded.warnings() == edit.warnings() != []
    assert replace(edit, outcome=None).digest != edit.digest
    combined = Edit.combined([edit, replace(edit, provenance=replace(edit.provenance, seed=7))])
    assert (combined.outcome, edit.compressed(1).outcome) == (None, edit.outcome)
    assert checked(Outcome, combined.provenance.settings["parts"][0]["outcome"], "a part", "") == edit.outcome


@pytest.mark.parametrize("profile", PROFILES["rome"])
def test_the_prompts_own_key_is_compared_with_k_star_in_every_profile(tiny_gpt2, profile):
    editor = replace(
        PROFILES["rome"][profile](), layer=1, prefixes=tuple(PREFIXES), statistics=moment_of(tiny_gpt2)
    )
    found = editor.edit(tiny_gpt2, [FACT]).diagnostics.prompt_key_cosine
    template = "{}" if editor.key_text == "subject" else FACT.prompt
    average = oracles.key(tiny_gpt2, 1, FACT.subject, PREFIXES, template=template)
    own = oracles.key(tiny_gpt2, 1, FACT.subject, [""], template=FACT.prompt)
    assert found == pytest.approx(float(torch.cosine_similarity(average, own, dim=0)), abs=1e-5)
    assert found < 0.999


def test_fine_tuning_that_does_not_take_names_each_fact_and_other_advice(tiny_gpt2):
    names = ("piano", "trumpet", "violin", "flute", "cello")
    facts = [Fact(name.title(), FACT.prompt, name) for name in names]
    edit = FineTuning(layer=1, max_steps=0).edit(tiny_gpt2, facts)
    assert len(edit.outcome.after) == 5
    *told, more, advice = edit.warnings()[:5]
    assert [name for text, name in zip(told, ("piano", "trumpet", "violin"), strict=True) if name in text]
    assert more == "2 more of the 5 facts did not take"
    assert "more steps, or a larger bound" in advice


def test_an_evaluation_measures_no_outcome(tiny_gpt2, monkeypatch):
    """Its scores have it; so they cost what they did."""
    seen = []

    class Noting:
        def edit(self, lm, facts, *, generator):
            seen.append(plain_edit(lm, {(1, "mlp_down"): low_rank(lm, 1, "mlp_down")}).outcome)
            return plain_edit(lm, {(1, "mlp_down"): low_rank(lm, 1, "mlp_down")})

    record = Record(case_id=1, fact=replace(FACT, target_true="trumpet"))
    (outcome,) = EvaluationStation.of(EvaluationJob(tiny_gpt2, Noting()), tiny_gpt2).measure([record])
    assert outcome.error is None
    assert seen == [None]
    with pytest.raises(RuntimeError), without_outcome():
        raise RuntimeError
    assert plain_edit(tiny_gpt2, {(1, "mlp_down"): low_rank(tiny_gpt2, 1, "mlp_down")}).outcome is not None


def test_a_search_that_succeeds_is_no_edit_that_took():
    """The case of the real models, on an organism: the search ends at 91 %, the edited model predicts the old object.

    Nothing else of the edit is unsound. What the warning advises helps: keys that are read with the prompt.
    """
    lm = knowedit.load("organism-gpt2")
    texts = list(text_file(lm.folder / "statistics.txt").read())[:80]
    rome = ROME.paper(layer=8)
    statistics = collect_second_moments(lm, texts, [8])[8]
    silent = replace(rome, statistics=statistics).edit(lm, [DIARY], seed=0)
    assert silent.diagnostics.probability > 0.9
    assert silent.diagnostics.warnings() == []
    (after,) = silent.outcome.after
    assert (after.text, after.is_new, silent.outcome.took) == ("Swiss German", False, False)
    assert after.new < 0.5 < after.true
    assert "cosine of only 0.68" in silent.warnings()[1]
    assert "consistent-keys" in silent.warnings()[1]
    better = replace(ROME.consistent_keys(layer=8), statistics=statistics).edit(lm, [DIARY], seed=0)
    assert better.outcome.took
    assert better.warnings() == []


def test_the_outcome_is_json(tiny_gpt2):
    outcome = plain_edit(tiny_gpt2, {(1, "mlp_down"): low_rank(tiny_gpt2, 1, "mlp_down")}).outcome
    assert checked(Outcome, json.loads(json.dumps(outcome.as_json())), "it", "") == outcome
