"""``knowedit trace-average`` and ``knowedit known``: whole runs on a bundled model, and what is refused."""

from __future__ import annotations

import json

import pytest

from knowedit.runs.folder import RECORDS
from knowedit.tracing import (
    AverageTrace,
    KnownFact,
    TraceSettings,
    Window,
    figures,
    load_known_facts,
    save_known_facts,
)

FACTS = [
    KnownFact("Zoma Sel plays the", "Zoma Sel", "trumpet"),
    KnownFact("Zoma Sel plays Zoma Sel's", "Zoma Sel", "trumpet"),
    KnownFact("In the evening Zoma Sel plays the", "Zoma Sel", "trumpet"),
]


@pytest.fixture
def facts(tmp_path):
    save_known_facts(FACTS, tmp_path / "facts.json")
    return tmp_path / "facts.json"


def test_a_run_over_a_list_of_facts(run, facts, tmp_path):
    arguments = ("trace-average", "--facts", facts, "--draws", 2, "--out", "a", "--part", "mlp")
    found = json.loads(run(*arguments, "--json").stdout)
    average = AverageTrace.load(tmp_path / "a" / "average.safetensors")
    assert average.settings == TraceSettings("mlp", Window.paper(3), draws=2)
    assert (found["facts"], average.n_facts) == (2, 2)
    assert list(found["failures"]) == ["1"]
    assert found["clean"]["mean"] == average.clean.mean
    assert [(row["role"], row["layer"]) for row in found["peaks"]] == [
        (role.value, average.peak(role)[0]) for role in average.roles
    ]
    before = found["peaks"][0]
    assert (before["role"], before["n"], before["low"]) == ("before the subject", 1, None)
    result = run(*arguments)
    assert "last subject token" in result.stdout
    assert f"the answer of {average.n_predicted} of 2 facts" in " ".join(result.stdout.split())
    assert "fact 1 was left out: the subject 'Zoma Sel'" in result.stderr


def test_without_a_list_the_models_own_records_are_asked(run, tmp_path):
    run("known", "--limit", 2, "--out", "known.json")
    found = json.loads(run("trace-average", "--limit", 2, "--draws", 1, "--out", "a", "--json").stdout)
    again = ("trace-average", "--facts", "known.json", "--draws", 1, "--out", "a", "--json")
    assert json.loads(run(*again).stdout) == found
    assert len(load_known_facts(tmp_path / "known.json")) == 2
    assert found["predicted"] == 2
    assert found["settings"]["window"] == {"before": 0, "after": 0}


def _stopped(*_arguments, **_options):
    raise KeyboardInterrupt


def test_ctrl_c_says_how_to_resume(run, facts, tmp_path, monkeypatch):
    arguments = ("trace-average", "--facts", facts, "--draws", 1, "--out", "a", "--json")
    trace = KnownFact.trace

    def interrupted(self, *args, **options):
        if self == FACTS[2]:
            raise KeyboardInterrupt
        return trace(self, *args, **options)

    monkeypatch.setattr(KnownFact, "trace", _stopped)
    told = " ".join(run(*arguments, code=130).stderr.split())
    assert (
        "stopped; there is nothing yet that could be kept. To begin again, give the same command again"
        in told
    )
    monkeypatch.setattr(KnownFact, "trace", interrupted)
    told = " ".join(run(*arguments, code=130).stderr.split())
    assert "stopped; every finished fact is kept in a. To resume, give the same command again" in told
    assert len((tmp_path / "a" / RECORDS).read_bytes().splitlines()) == 2
    monkeypatch.setattr(KnownFact, "trace", trace)
    assert json.loads(run(*arguments).stdout)["facts"] == 2
    assert len((tmp_path / "a" / RECORDS).read_bytes().splitlines()) == 3


def test_a_picture_is_drawn_of_the_average(run, facts, monkeypatch):
    drawn = []
    monkeypatch.setattr(figures, "average_lines", lambda *averages: averages)
    monkeypatch.setattr(figures, "save", lambda figure, path, force: drawn.append((figure, path.name)))
    arguments = ("trace-average", "--facts", facts, "--draws", 1, "--limit", 1, "--out", "a")
    run(*arguments, "--figure", "a.png")
    [((average,), name)] = drawn
    assert (average.n_facts, name) == (1, "a.png")


@pytest.mark.parametrize(
    ("options", "advice"),
    [
        (("--part", "heads"), "--part is 'heads': expected one of"),
        (("--sever", "hidden"), "--sever is 'hidden': expected one of"),
        (("--window", "wide"), "the window 'wide' is not known"),
        (("--window", "13"), "larger than the model"),
        (("--noise", "0"), "expected a positive number"),
        (("--noise", "1", "--relative-noise", "1"), "give only one of"),
        (("--figure", "a.gif"), "expected one of .png"),
        (("--figure", "no/a.png"), "does not exist"),
        (("--facts", "no.json"), "there is no file"),
    ],
)
def test_what_cannot_be_run_leaves_no_folder(run, facts, tmp_path, options, advice):
    result = run("trace-average", "--facts", facts, "--out", "a", *options, code=2)
    assert advice in result.stderr
    assert not (tmp_path / "a").exists()


def test_known_facts_need_records_and_a_place(run, tmp_path):
    assert "the folder no does not exist" in run("known", "--out", "no/a.json", code=2).stderr
    (tmp_path / "none.json").write_text("[]")
    assert "holds no records" in run("known", "--records", "none.json", "--out", "a.json", code=2).stderr
    assert not (tmp_path / "a.json").exists()


def test_a_list_of_known_facts_is_replaced_only_if_forced(run, tmp_path):
    (tmp_path / "a.json").write_text("mine")
    assert "exists already" in run("known", "--limit", 1, "--out", "a.json", code=2).stderr
    assert (tmp_path / "a.json").read_text() == "mine"
    run("known", "--limit", 1, "--out", "a.json", "--force")
    assert len(load_known_facts(tmp_path / "a.json")) == 1
