"""``knowedit edit --method``: fine-tuning from the command line."""

from __future__ import annotations

import json

import pytest

from knowedit.editing import Edit

FACT = ("edit", "--subject", "Zoma Sel", "--prompt", "{} plays the", "--target-new", "cello")


@pytest.mark.parametrize(("method", "updates"), [("ft", 1)])
def test_fine_tuning_writes_an_edit_file(run, method, updates):
    result = run(*FACT, "--method", method, "--layer", 0, "--out", "e.safetensors", "--json")
    found = json.loads(result.output)
    assert found["editor"] == "FineTuning"
    assert len(found["updates"]) == updates
    assert found["after"]["target_new"] > found["before"]["target_new"]
    assert Edit.load("e.safetensors").provenance.settings["layer"] == 0
    assert "FineTuning" in run("inspect", "e.safetensors").output


@pytest.mark.parametrize("method", ["ft+l", "attn-edit"])
def test_no_entry_moves_further_than_the_bound(run, method):
    run(*FACT, "--method", method, "--layer", 5, "--bound", "1e-3", "--out", "e.safetensors")
    edit = Edit.load("e.safetensors")
    assert edit.provenance.settings["bound"] == 1e-3
    furthest = max(float(update.materialise().abs().max()) for update in edit.updates.values())
    assert furthest == pytest.approx(1e-3, rel=1e-3)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--method", "rme"], "there is no editor 'rme': use one of rome, ft, ft+l, attn-edit"),
        (["--method", "ft", "--layer", 12], "layers go from 0 to 11"),
        (["--method", "ft", "--profile", "paper"], "ft has no profiles"),
        (["--method", "ft", "--bound", 0.1], "FT has no bound ε, 0.1 was given: use FT+L (ft+l)"),
        (["--method", "rome", "--bound", 0.1], "'bound' is no option of rome, which has learning_rate"),
        (["--method", "ft+l", "--bound", 0], "the bound ε is 0.0: give a positive number"),
    ],
)
def test_bad_options_are_one_line_and_write_nothing(run, tmp_path, words, said):
    result = run(*FACT, *words, "--out", "e.safetensors", code=2)
    assert said in result.stderr
    assert result.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_any_field_of_an_editor_can_be_set(run):
    settings = ("--set", "max_steps=3", "--set", 'targets=["mlp_up"]', "--layer", 0)
    found = json.loads(run(*FACT, "--method", "ft", *settings, "--out", "e", "--json").stdout)
    assert found["settings"]["max_steps"] == 3
    assert found["settings"]["targets"] == ["mlp_up"]
    assert [(update["layer"], update["part"]) for update in found["updates"]] == [(0, "mlp_up")]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("max_steps", "is no assignment: write it as field=value"),
        ("max_step=3", "'max_step' is no option of ft, which has"),
        ("max_steps=many", "max_steps is 'many': give a number"),
        ('targets={"a": 1}', "is a JSON object"),
    ],
)
def test_settings_that_cannot_be_used_are_one_line(run, tmp_path, text, words):
    told = run(*FACT, "--method", "ft", "--set", text, "--out", "e", code=2).stderr
    assert words in told
    assert told.count("\n") == 1
    assert not list(tmp_path.iterdir())
