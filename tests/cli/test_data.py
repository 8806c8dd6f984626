from __future__ import annotations

import hashlib
import json

import pytest

from knowedit.bundled import bundled_models
from knowedit.evaluation import TEST_FILE, load_records
from tests.cli.test_cli import assert_one_line
from tests.evaluation.samples import nested
from tests.evaluation.test_compiler import FACTS, TEMPLATES


def test_check_prints_table_1(run):
    path = bundled_models()["organism-gpt2"] / TEST_FILE
    said = run("data", "check", path).stdout
    cells = {
        line.split("│")[1].strip(): [c.strip() for c in line.split("│")[2:5]]
        for line in said.splitlines()
        if "│" in line
    }
    assert cells["Records"] == ["400", "25", "1"]
    assert cells["Generation Prompts"] == ["1,200", "75", "3"]
    told = json.loads(run("data", "check", path, "--json").stdout)
    assert (told["bad"], told["official"], told["relations"]) == (0, False, 16)
    assert told["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()


def test_check_names_bad_records_and_exits_with_1(run, tmp_path):
    (tmp_path / "r.jsonl").write_text(
        "\n".join([json.dumps(nested(0)), '{"case_id": [', json.dumps(nested(0))])
    )
    result = run("data", "check", "r.jsonl", code=1)
    assert "bad: line 2: is not JSON" in result.stderr
    assert "bad: record 3 (line 3): case_id 0 was in record 1 already" in result.stderr
    assert "2 bad, 1 good" in result.stderr
    assert json.loads(run("data", "check", "r.jsonl", "--json", code=1).stdout)["bad"] == 2


def test_check_shows_a_dash_for_what_is_not_there(run, tmp_path):
    entry = {key: value for key, value in nested(0).items() if key != "generation_prompts"}
    del entry["requested_rewrite"]["relation_id"]
    (tmp_path / "r.json").write_text(json.dumps([entry]))
    lines = run("data", "check", "r.json").stdout.splitlines()
    rows = {line.split("│")[1].strip(): line.split("│")[2:5] for line in lines if "│" in line}
    assert [cell.strip() for cell in rows["Generation Prompts"]] == ["-", "-", "-"]
    assert [cell.strip() for cell in rows["Records"]] == ["1", "-", "1"]


def test_check_of_nothing_fails(run, tmp_path):
    (tmp_path / "e").write_text("")
    assert "holds no record" in run("data", "check", "e", code=1).stderr
    assert_one_line(run("data", "check", "none", code=2).stderr, "there is no file")
    assert_one_line(run("data", "check", "e", "--official", code=2).stderr, "not the official")


@pytest.fixture
def sources(tmp_path):
    rows = [json.dumps({"subject": s, "relation": r, "object": o}) for s, r, o in FACTS]
    (tmp_path / "facts.jsonl").write_text("\n".join(rows))
    (tmp_path / "templates.json").write_text(json.dumps(TEMPLATES))
    return ["data", "compile", "--facts", "facts.jsonl", "--templates", "templates.json"]


def test_compile_writes_records_and_a_manifest(run, sources, tmp_path):
    manifest = json.loads(run(*sources, "--out", "r.json", "--json").stdout)
    assert manifest == json.loads((tmp_path / "r.json.manifest.json").read_text(encoding="utf-8"))
    assert manifest["sha256"] == hashlib.sha256((tmp_path / "r.json").read_bytes()).hexdigest()
    digest = hashlib.sha256((tmp_path / "facts.jsonl").read_bytes()).hexdigest()
    assert manifest["sources"]["facts"] == {"path": "facts.jsonl", "sha256": digest}
    assert manifest["written"] == manifest["records"] == len(load_records(tmp_path / "r.json")) > 0
    run("data", "check", "r.json")


def test_compile_is_decided_by_its_seed(run, sources, tmp_path):
    for name, seed in (("a.jsonl", 1), ("b.jsonl", 1), ("c.jsonl", 2)):
        assert (
            "left out, template: the object is not last: 2"
            in run(*sources, "--out", name, "--seed", seed).stdout
        )
    a, b, c = ((tmp_path / name).read_bytes() for name in ("a.jsonl", "b.jsonl", "c.jsonl"))
    assert a == b != c
    run(*sources, "--out", "few.jsonl", "--seed", 1, "--limit", 4)
    few = (tmp_path / "few.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(few) == 4
    assert set(few) <= set(a.decode().splitlines())


def test_compile_overwrites_nothing(run, sources, tmp_path):
    (tmp_path / "r.json").write_text("mine")
    assert_one_line(run(*sources, "--out", "r.json", code=2).stderr, "exists already")
    assert (tmp_path / "r.json").read_text() == "mine"
    run(*sources, "--out", "r.json", "--force")
    assert_one_line(run(*sources, "--out", "no/folder/r.json", code=2).stderr, "does not exist")
