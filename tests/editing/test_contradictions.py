"""Edits that give one prompt two objects, and were made apart or one on the other."""

from __future__ import annotations

import warnings
from dataclasses import replace

import pytest

from knowedit.editing import Edit, FineTuning, Provenance, applied_edits, contradictions
from knowedit.errors import FileFormatError, InputError
from knowedit.facts import Fact
from tests.editing.conftest import FACT, changed, low_rank, plain_edit, state


def made(lm, target: str = "cello", seed: int = 1, fact: Fact | None = None) -> Edit:
    edit = plain_edit(lm, {(1, "mlp_down"): low_rank(lm, 1, "mlp_down", seed=seed)})
    facts = (fact or replace(FACT, target_new=target),)
    return replace(edit, provenance=replace(edit.provenance, facts=facts))


@pytest.fixture
def cello(tiny_gpt2) -> Edit:
    return made(tiny_gpt2)


@pytest.fixture
def violin(tiny_gpt2) -> Edit:
    return made(tiny_gpt2, "violin", seed=2)


def combined_of(edit: Edit, parts: object) -> Edit:
    odd = Provenance("Edit.combined", {"parts": parts}, (FACT,), "m", None, (), {})
    return replace(edit, provenance=odd)


def on(lm, below: Edit, target: str, seed: int) -> Edit:
    with below.applied(lm):
        return made(lm, target, seed)


def test_two_edits_made_apart_are_named_with_prompt_objects_and_advice(cello, violin):
    for pair in ([cello, violin], [violin, cello]):
        (text,) = contradictions(pair)
        for words in (*(edit.digest[:12] for edit in pair), "'Miles Davis plays the'", "'cello'", "'violin'"):
            assert words in text
        assert "knowedit edit --edit FIRST" in text


def test_an_edit_made_on_the_other_is_no_contradiction(tiny_gpt2, cello, violin):
    above = on(tiny_gpt2, cello, "violin", 3)
    assert contradictions([cello, above]) == []
    assert len(contradictions([cello, above, made(tiny_gpt2, "flute", 4)])) == 2
    both = Edit.combined([cello, above])
    topmost = on(tiny_gpt2, both, "flute", 5)
    assert contradictions([both, topmost]) == []
    assert contradictions([Edit.combined([both, topmost])]) == []


@pytest.mark.parametrize(
    ("fact", "apart"),
    [
        (replace(FACT, target_new="cello"), False),
        (replace(FACT, target_new=" cello "), False),
        (Fact("Davis", "Miles  {} plays\nthe", "violin"), True),
        (replace(FACT, prompt="{} is the player of the", target_new="violin"), False),
        (replace(FACT, subject="Ann Bo", target_new="violin"), False),
    ],
    ids=["same", "same but for space", "same text of another template", "another prompt", "another subject"],
)
def test_rendered_prompts_and_objects_are_compared(tiny_gpt2, cello, fact, apart):
    assert bool(contradictions([cello, made(tiny_gpt2, seed=2, fact=fact)])) == apart


def test_combining_and_exporting_refuse(tiny_gpt2, cello, violin, tmp_path):
    before = state(tiny_gpt2)
    with pytest.raises(InputError, match="give 'Miles Davis plays the' two objects"):
        Edit.combined([cello, violin])
    with cello.applied(tiny_gpt2), pytest.raises(InputError, match="two objects"):
        violin.merged(tiny_gpt2, tmp_path / "model")
    both = Edit.combined([cello, on(tiny_gpt2, cello, "violin", 3)])
    both.to_peft(tmp_path / "adapter")
    parts = [part | {"on_top_of": []} for part in both.provenance.settings["parts"]]
    apart = replace(both, provenance=replace(both.provenance, settings={"parts": parts}))
    with pytest.raises(InputError, match="two objects"):
        apart.to_peft(tmp_path / "other")
    assert [path.name for path in tmp_path.iterdir()] == ["adapter"]
    assert changed(tiny_gpt2, before) == []


def test_applying_warns_once_for_each_pair_and_applies(tiny_gpt2, cello, violin):
    with cello.applied(tiny_gpt2):
        with pytest.warns(UserWarning, match="two objects") as told:
            handle = violin.apply(tiny_gpt2)
        assert len(told) == 1
        assert len(applied_edits(tiny_gpt2)) == 2
        third = made(tiny_gpt2, "violin", 9, Fact("Ann Bo", "{} lives in", "Paris"))
        third.apply(tiny_gpt2).remove()
        handle.remove()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with cello.applied(tiny_gpt2):
            before = state(tiny_gpt2)
            with pytest.raises(UserWarning):
                violin.apply(tiny_gpt2)
            assert changed(tiny_gpt2, before) == []


def test_one_edit_of_facts_that_contradict_is_refused(tiny_gpt2):
    facts = [FACT, replace(FACT, subject="Ann Bo"), replace(FACT, target_new="cello")]
    with pytest.raises(InputError, match="'Miles Davis plays the' two objects, 'piano' and 'cello'"):
        FineTuning(layer=1).edit(tiny_gpt2, facts)


def test_parts_that_cannot_be_read_are_one_line(tiny_gpt2, cello):
    for parts in (
        [{"editor": "ROME"}],
        ["x"],
        3,
        [{"editor": "A", "digest": "b", "facts": [1], "on_top_of": []}],
    ):
        with pytest.raises(FileFormatError, match="combine the edits again"):
            contradictions([combined_of(cello, parts)])
