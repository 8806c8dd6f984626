"""``knowedit evaluate`` and ``knowedit table`` as a user runs them: output, exit code, files."""

from __future__ import annotations

import csv
import gzip
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from knowedit import evaluation
from knowedit.bundled import bundled_models
from knowedit.cli import evaluate as evaluate_module
from knowedit.editing import ROME
from knowedit.errors import InputError
from knowedit.evaluation.runs.run import RECORDS, read_run
from knowedit.runs import MANIFEST
from knowedit.runs.manifest import write_manifest
from tests.cli.conftest import call
from tests.cli.test_cli import assert_one_line

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    for method in ("none", "rome"):
        call("evaluate", "--method", method, "--limit", 4, "--no-texts", "--out", folder / method)
    return folder


def test_it_says_what_it_found(run, runs):
    found = json.loads(
        run(
            "evaluate", "--method", "rome", "--limit", 4, "--no-texts", "--out", runs / "rome", "--json"
        ).stdout
    )
    assert found["scored"] == 4
    assert found["failed"] == {}
    assert found["columns"]["ES"][0] == 100.0
    assert found["names"] == {"model": "organism-gpt2", "method": "ROME", "records": "records_test.json"}
    assert found["run"]["settings"]["layer"] == 5
    assert found["digest"] == read_run(runs / "rome").digest


def test_texts_are_measured_by_default(run, monkeypatch):
    scorer = evaluation.TextScorer
    monkeypatch.setattr(evaluation, "TextScorer", lambda tfidf, **more: scorer(tfidf, new_tokens=8, **more))
    text = run("evaluate", "--method", "none", "--limit", 2, "--out", "o", "--json").stdout
    found = json.loads(text)
    assert {"GE", "RS", "Essence"} <= set(found["columns"])
    dropped = run("evaluate", "--method", "none", "--limit", 2, "--drop-texts", "--out", "d", "--json").stdout
    assert json.loads(dropped)["columns"] == found["columns"]
    assert (Path("o") / RECORDS).stat().st_size > (Path("d") / RECORDS).stat().st_size


def test_the_table_as_json(run, runs):
    found = json.loads(run("table", runs / "rome", runs / "none", "--paper", "gpt2-xl", "--json").stdout)
    assert [row["method"] for row in found["rows"][:2]] == ["ROME", "none"]
    assert found["rows"][0]["columns"]["ES"][0] == 100.0
    assert (found["rows"][0]["records"], found["written"]) == (4, [])


def test_the_table_of_two_runs_and_the_paper(run, runs, tmp_path):
    options = ("--out", "t.csv", "--out", "t.md", "--paper", "gpt2-xl", "--paper", "gpt-j")
    text = run("table", runs / "rome", runs / "none", *options).stdout
    assert "organism-gpt2" in text
    assert "neither" in text
    rows = list(csv.DictReader((tmp_path / "t.csv").read_text(encoding="utf-8").splitlines()))
    assert [row["method"] for row in rows[:2]] == ["ROME", "none"]
    assert len(rows) == 2 + 9 + 5
    assert float(rows[0]["ES"]) == 100.0
    assert "| organism-gpt2 | ROME | 100.0 −49.0 +0.0 |" in (tmp_path / "t.md").read_text(encoding="utf-8")
    before = (tmp_path / "t.md").read_text(encoding="utf-8")
    refused = run("table", runs / "none", "--out", "t.md", code=2)
    assert "exists already" in " ".join(refused.stderr.split())
    assert (tmp_path / "t.md").read_text(encoding="utf-8") == before
    run("table", runs / "none", "--out", "t.md", "--force")
    assert (tmp_path / "t.md").read_text(encoding="utf-8") != before


def test_pictures_of_the_table_and_of_the_distributions(run, runs, tmp_path):
    both = (runs / "none", runs / "rome")
    said = run("table", *both, "--figure", "t.svg", "--distributions", "d.PNG", "--paper", "gpt-j").stdout
    assert "written to t.svg\nwritten to d.PNG\n" in said
    assert (tmp_path / "t.svg").read_bytes().startswith(b"<?xml")
    assert (tmp_path / "d.PNG").read_bytes().startswith(b"\x89PNG")
    before = (tmp_path / "t.svg").read_bytes()
    refused = run("table", *both, "--figure", "t.svg", code=2)
    assert "exists already" in " ".join(refused.stderr.split())
    run("table", runs / "rome", "--figure", "t.svg", "--force")
    assert (tmp_path / "t.svg").read_bytes() != before


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--figure", "t.gif"), "one of .png, .svg, .pdf"),
        (("--distributions", "t"), "one of .png, .svg, .pdf"),
        (("--figure", "no/t.svg"), "the folder no does not exist"),
        (("--out", "t.txt"), "expected .csv or .md"),
        (("--out", "no/t.csv"), "the folder no does not exist"),
        (("--figure", "a.svg", "--distributions", "a.svg"), "a.svg is given for two things"),
    ],
)
def test_what_cannot_be_written_is_refused_before_a_run_is_read(run, tmp_path, options, words):
    refused = run("table", "no-run", "--out", "t.md", *options, code=2)
    assert words in " ".join(refused.stderr.split())
    assert not list(tmp_path.iterdir())


def test_a_picture_that_cannot_be_drawn_leaves_no_file(run, runs, tmp_path):
    shutil.copytree(runs / "rome", tmp_path / "other")
    manifest = read_run(runs / "rome").manifest
    write_manifest(tmp_path / "other", {**manifest, "run": manifest["run"] | {"model": "another"}})
    options = ("--out", "t.csv", "--figure", "t.svg", "--distributions", "d.svg")
    refused = run("table", runs / "rome", "other", *options, code=2)
    assert "several models or sets of records" in " ".join(refused.stderr.split())
    assert [path.name for path in tmp_path.iterdir()] == ["other"]


def test_failed_records_are_said_and_in_the_exit_code(run, monkeypatch):
    real = ROME.edit

    def edit(self, lm, facts, **options):
        if facts[0].subject == subject:
            raise InputError("no place for the subject")
        return real(self, lm, facts, **options)

    subject = bundled_models()["organism-gpt2"] / "records_test.json"
    subject = json.loads(subject.read_text(encoding="utf-8"))[1]["requested_rewrite"]["subject"]
    monkeypatch.setattr(ROME, "edit", edit)
    found = run("evaluate", "--method", "rome", "--limit", 3, "--no-texts", "--out", "o", code=1)
    assert "failed: InputError: no place for the subject" in " ".join(found.stderr.split())
    assert "2 (few), 1 failed" in found.stdout
    assert len(read_run(Path("o")).failed) == 1
    again = run("evaluate", "--method", "rome", "--limit", 3, "--no-texts", "--out", "o", code=1)
    assert "no place for the subject" in " ".join(again.stderr.split())
    monkeypatch.setattr(ROME, "edit", real)
    run("evaluate", "--method", "rome", "--limit", 3, "--no-texts", "--out", "o", "--retry")
    assert read_run(Path("o")).failed == ()


def test_an_interrupted_run_says_how_to_resume(run, runs, monkeypatch):
    def watch(done, of, outcome):
        if done == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(evaluate_module, "_watch", lambda tell: watch)
        patch.setattr(sys, "argv", ["knowedit", "evaluate", "--out", "my run"])
        found = run("evaluate", "--method", "rome", "--limit", 4, "--no-texts", "--out", "my run", code=130)
    told = " ".join(found.stderr.split())
    assert "every finished record is kept in my run" in told
    assert "knowedit evaluate --out 'my run'" in told
    assert read_run(Path("my run")).missing == 2
    run("evaluate", "--method", "rome", "--limit", 4, "--no-texts", "--out", "my run")
    assert read_run(Path("my run")).digest == read_run(runs / "rome").digest


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--method", "mend"), "there is no editor 'mend': use one of rome, ft"),
        (
            ("--method", "none", "--layer", "3"),
            "none takes no --layer: leave it out, or use one of rome, ft",
        ),
        (("--method", "ft", "--profile", "paper"), "ft has no profiles"),
        (("--method", "ft+l", "--bound", "0"), "the bound ε is 0.0: give a positive and finite number"),
        (("--method", "ft", "--bound", "0.1"), "FT has no bound ε, 0.1 was given"),
        (("--method", "rome", "--profile", "x"), "there is no profile 'x'"),
        (("--method", "rome", "--records", "none.json"), "there is no file none.json"),
        (
            ("--method", "none", "--model", "gpt2-xl"),
            "gpt2-xl has no records_test.json: give records, for instance counterfact.json",
        ),
        (("--method", "none", "--records", "bare.json", "--texts"), "no reference texts, which RS needs"),
        (
            ("--method", "none", "--records", "broken.jsonl", "--no-texts"),
            "broken.jsonl, line 2: is not JSON",
        ),
    ],
)
def test_bad_options_are_one_line_and_leave_nothing(run, tmp_path, options, words):
    entry = {
        "case_id": 0,
        "requested_rewrite": {
            "prompt": "{} plays the",
            "subject": "Zoma Sel",
            "target_new": {"str": "cello"},
            "target_true": {"str": "flute"},
        },
    }
    (tmp_path / "bare.json").write_text(json.dumps([entry]))
    (tmp_path / "broken.jsonl").write_text(json.dumps(entry) + "\n{\n")
    found = run("evaluate", "--out", "o", *options, code=2)
    assert words in " ".join(found.stderr.split())
    assert not (tmp_path / "o").exists()


FORMS = Path(__file__).parents[1] / "data" / "records"


def test_records_in_the_form_of_others_are_measured_and_tabled(run):
    """KnowEdit's, with a byte order mark and compressed; and what is left out, and not measured, is told."""
    whole = (FORMS / "knowedit_counterfact.json").read_bytes()
    Path("k.json.gz").write_bytes(gzip.compress(b"\xef\xbb\xbf" + whole))
    options = ("--method", "ft", "--limit", 1)
    found = run("evaluate", *options, "--records", "k.json.gz", "--out", "k")
    assert "the records have no reference texts: GE, RS and Essence are not measured" in found.stderr
    said = json.loads(run("table", "k", "--out", "k.csv", "--out", "k.md", "--json").stdout)
    assert list(said["rows"][0]["columns"]) == ["ES", "EM", "Acc", "Loc", "Port"]
    assert Path("k.csv").read_text(encoding="utf-8").splitlines()[0].endswith("Port,Port_low,Port_high")
    assert "Loc" in run("table", "k").stdout
    left = run("evaluate", *options[:-2], "--records", FORMS / "mquake.json", "--out", "m")
    assert "mquake.json: of the records read 1 left out: 1 since it asks for" in " ".join(left.stderr.split())
    assert_one_line(
        run("evaluate", *options, "--records", FORMS / "README.md", "--out", "n", code=2).stderr,
        "is not JSON",
    )


def test_another_configuration_is_refused(run, runs, tmp_path):
    shutil.copytree(runs / "rome", tmp_path / "o")
    before = {name: (tmp_path / "o" / name).read_bytes() for name in (MANIFEST, RECORDS)}
    found = run(
        "evaluate",
        "--method",
        "rome",
        "--limit",
        4,
        "--no-texts",
        "--seed",
        1,
        "--layer",
        4,
        "--out",
        "o",
        code=2,
    )
    told = " ".join(found.stderr.split())
    assert "seed is 0 there and 1 here" in told
    assert "settings layer is 5 there and 4 here" in told
    assert {name: (tmp_path / "o" / name).read_bytes() for name in before} == before


def test_what_is_no_run_has_no_table(run):
    assert "has no manifest.json" in run("table", "nowhere", code=2).stderr


# Processes of their own, as on a command line

SCRIPT = """
import os, signal, sys
from knowedit.cli import app, evaluate

real = evaluate._watch

def interrupting(tell):
    watch = real(tell)
    def told(done, of, outcome):
        watch(done, of, outcome)
        if outcome is not None and "INTERRUPTED" in os.environ:
            os.kill(os.getpid(), signal.SIGINT)
    return told

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    evaluate._watch = interrupting
    app()
"""


def test_two_workers_interrupted_and_resumed_by_one_find_what_one_process_finds(runs, tmp_path):
    script = tmp_path / "k.py"
    script.write_text(SCRIPT)
    command = [sys.executable, str(script), "evaluate", "--method", "rome", "--limit", "4", "--no-texts"]
    command += ["--workers", "2", "--out", str(tmp_path / "o")]
    environment = {**os.environ, "INTERRUPTED": "after a record"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    told = done.stderr
    assert done.returncode == 130, told
    assert "To resume, give the same command again" in " ".join(told.split())
    assert read_run(tmp_path / "o").missing == 3
    call("evaluate", "--method", "rome", "--limit", 4, "--no-texts", "--out", tmp_path / "o")
    found, expected = read_run(tmp_path / "o"), read_run(runs / "rome")
    assert found.identity == expected.identity
    assert found.missing == 0
    for mine, theirs in zip(found.outcomes, expected.outcomes, strict=True):
        assert mine.scores["prompt"]["new"] == pytest.approx(theirs.scores["prompt"]["new"], rel=1e-3)
