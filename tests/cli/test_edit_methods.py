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
    bounded = ("--layer", 5, "--bound", "1e-3", "--out", "e.safetensors")
    assert "did not take" in run(*FACT, "--method", method, *bounded, code=1).stdout
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
        (["--method", "rome", "--bound", 0.1], "rome has no --bound: leave it out"),
        (["--method", "ft+l", "--bound", 0], "the bound ε is 0.0: give a positive and finite number"),
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
        ("max_steps=many", "max_steps is 'many': expected a whole number, such as 25"),
        ('targets={"a": 1}', "is a JSON object"),
    ],
)
def test_settings_that_cannot_be_used_are_one_line(run, tmp_path, text, words):
    told = run(*FACT, "--method", "ft", "--set", text, "--out", "e", code=2).stderr
    assert words in told
    assert told.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_an_edit_that_does_not_take_exits_with_1_and_is_written(run):
    """The search finds its value, `max_update` keeps the weights from it. Python and the commands say the same."""
    short = ("--layer", 5, "--set", "max_update=0.01")
    text = run(*FACT, *short, "--out", "a", code=1).stdout
    found = json.loads(run(*FACT, *short, "--out", "b", "--json", code=1).stdout)
    edit = Edit.load("a")
    assert edit.digest == Edit.load("b").digest == found["digest"]
    assert edit.diagnostics.probability > 0.9
    assert "'trumpet', and 'cello' with a probability of" in edit.warnings()[0]
    assert "try another layer or profile, or key statistics of more text" in edit.warnings()[1]
    assert edit.warnings()[1] in edit._repr_html_()
    assert found["warnings"] == edit.warnings()
    assert (
        found["outcome"]
        == edit.outcome.as_json()
        == json.loads(run("inspect", "a", "--json").stdout)["outcome"]
    )
    inspected = run("inspect", "a").stdout
    for shown in (text, inspected):
        assert "warning: the edit did not take: after 'Zoma Sel plays the'" in shown
        assert all("".join(f"warning: {line}".split()) in "".join(shown.split()) for line in edit.warnings())
    assert "predicts 'trumpet', P[cello] =" in inspected
    assert "written to a" in text
