"""Edit files of version 0.1.0: they load, apply and are saved again, and their settings make the same edit again."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import knowedit
from knowedit.editing import ROME, Edit, FineTuning, make_editor
from knowedit.errors import InputError
from knowedit.facts import Fact
from knowedit.linalg import LowRank
from knowedit.models import LanguageModel, next_token_probabilities, target_token_log_probabilities

FOLDER = Path(__file__).parents[1] / "data" / "v0.1.0"
PLAYS = Fact("Zoma Sel", "{} plays the", "cello")
BORN = Fact("Zoma Sel", "{} was born in", "Ponda")
FACTS = {
    "rome": [PLAYS],
    "rome-october": [PLAYS],
    "ftl-rank1": [PLAYS],
    "combined": [PLAYS, PLAYS],
    "on-top": [BORN],
}

DIGESTS = {
    "rome": "2f57331d6171580fd0a1c35727707fe842d6fde88dd69b379563f383a13bdb9b",
    "rome-october": "36839b61b063ba038d4118a47b45a6c3f14574e6581c8fe1f30aeb074bfbdcc5",
    "ftl-rank1": "294dad8ce05f234083854cca6b656bc7f35e133685965f450631efcd58af6661",
    "combined": "b076605cda4c0b363089a4646d74b6c6b722e7dfc43a5c406e05cb0e410f4f02",
    "on-top": "244139b065217854bd3747d58392a9773e769aa2279742442f593f66183e1137",
}
"""Edits name each other by these, so what is added to edits later must not change them."""


@pytest.fixture(scope="module")
def lm() -> LanguageModel:
    return knowedit.load("organism-gpt2")


def old(name: str) -> Edit:
    return Edit.load(FOLDER / f"{name}.safetensors")


def parts(edit: Edit) -> dict[object, list[torch.Tensor]]:
    return {
        address: [update.left, update.right] if isinstance(update, LowRank) else [update.matrix]
        for address, update in edit.updates.items()
    }


def same(one: Edit, other: Edit) -> bool:
    left, right = parts(one), parts(other)
    return list(left) == list(right) and all(
        torch.equal(a, b) for address in left for a, b in zip(left[address], right[address], strict=True)
    )


def predicted(lm: LanguageModel, fact: Fact) -> str:
    return str(lm.tokenizer.decode([int(next_token_probabilities(lm, [fact.text])[0].argmax())])).strip()


def chance(lm: LanguageModel, fact: Fact) -> float:
    (logs,) = target_token_log_probabilities(lm, [(fact.text, fact.target_new)])
    return float(logs.sum().exp())


@pytest.mark.parametrize("name", FACTS)
def test_a_file_loads_and_is_the_same_when_saved_again(name, tmp_path):
    edit = old(name)
    assert (edit.digest, edit.outcome) == (DIGESTS[name], None)
    assert list(edit.provenance.facts) == FACTS[name]
    assert 0 < edit.diagnostics.probability <= 1
    edit.save(tmp_path / "again.safetensors")
    again = Edit.load(tmp_path / "again.safetensors")
    assert same(edit, again)
    assert (again.digest, again.base) == (edit.digest, edit.base)
    assert (again.provenance, again.diagnostics, again.places) == (
        edit.provenance,
        edit.diagnostics,
        edit.places,
    )


@pytest.mark.parametrize("name", ["rome", "rome-october", "combined"])
def test_a_file_applies_and_the_new_object_is_predicted(name, lm):
    assert predicted(lm, PLAYS) == "trumpet"
    with old(name).applied(lm):
        assert predicted(lm, PLAYS) == "cello"
    assert predicted(lm, PLAYS) == "trumpet"


def test_a_file_of_rank_one_makes_the_new_object_likelier(lm):
    """Cut from a whole matrix to rank 1, the edit has lost most of its effect."""
    before = chance(lm, PLAYS)
    with old("ftl-rank1").applied(lm):
        assert chance(lm, PLAYS) > 100 * before


def test_a_file_on_top_of_another_applies_on_it_alone(lm):
    with pytest.raises(InputError, match="was computed on top of"), old("on-top").applied(lm):
        pass
    with old("rome").applied(lm):
        before = chance(lm, BORN)
        with old("on-top").applied(lm):
            assert predicted(lm, PLAYS) == "cello"
            assert chance(lm, BORN) > 10 * before


@pytest.mark.parametrize(("name", "profile"), [("rome", "paper"), ("rome-october", "released-2022-10")])
def test_settings_of_rome_make_the_same_edit_again(name, profile, lm):
    edit = old(name)
    editor = ROME.from_settings(edit.provenance.settings)
    assert editor == make_editor("rome", profile=profile, layer=5)
    again = editor.edit(lm, list(edit.provenance.facts), seed=edit.provenance.seed)
    assert again.provenance.prefixes == edit.provenance.prefixes
    for address, update in edit.updates.items():
        one, other = again.updates[address].materialise(torch.float64), update.materialise(torch.float64)
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
    assert again.diagnostics.steps == edit.diagnostics.steps
    assert again.diagnostics.probability == pytest.approx(edit.diagnostics.probability, rel=1e-4)
    assert again.diagnostics.relative_change == pytest.approx(edit.diagnostics.relative_change, rel=1e-4)


def test_settings_of_fine_tuning_make_the_same_edit_again(lm):
    edit = old("ftl-rank1")
    again = FineTuning.from_settings(edit.provenance.settings).edit(lm, [PLAYS]).compressed(1)
    for address, update in edit.updates.items():
        one, other = again.updates[address].materialise(torch.float64), update.materialise(torch.float64)
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-6)
