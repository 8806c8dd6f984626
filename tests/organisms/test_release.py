"""The command that trains writes a whole folder or none, and replaces one only if it is told to."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from knowedit import organisms
from knowedit.bundled import NOTES
from knowedit.cli import organism_train as command
from knowedit.models import load
from tests.cli.conftest import call
from tests.organisms.test_train import TINY, one_tokenizer_a_seed

NAME = "organism-gpt2"
__all__ = ["one_tokenizer_a_seed"]  # a fixture of every test here too


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """The command for a recipe of six steps, with two records a layer, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(organisms.RECIPES, NAME, replace(organisms.RECIPES[NAME], **TINY))
    monkeypatch.setattr(organisms, "recalled", lambda model, tokenizer, world, pairs: [True] * len(pairs))
    monkeypatch.setattr(command, "LAYER_RECORDS", 2)
    monkeypatch.setattr(command, "STATISTICS_PASSAGES", 12)
    return tmp_path


def test_a_model_is_released_whole_and_not_replaced(tiny, monkeypatch):
    train = ("organism", "train", NAME, "--work", "w", "--out", "o")
    assert "held_out" in call(*train).stdout
    folder = tiny / "o" / NAME
    assert load(str(folder)).n_layers == TINY["layers"]
    assert sorted(path.name for path in (tiny / "o").iterdir()) == [NAME]
    notes = json.loads((folder / NOTES).read_text())
    assert sorted(path.name for path in folder.iterdir()) == sorted([*notes["files"], NOTES])
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert "holds an earlier model" in call(*train, code=2).stderr
    (folder / "mine").write_text("mine")
    assert "also holds mine" in call(*train, "--force", code=2).stderr
    (folder / "mine").unlink()
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    monkeypatch.setattr(command, "_release", released)
    call(*train, "--force")
    assert [path.name for path in folder.iterdir()] == [NOTES]


def released(*arguments):
    """In place of the measurements."""
    (arguments[4] / NOTES).write_text("{}")
    return {"recall": 1, "edit_layer": 0}


def test_what_could_not_be_written_is_refused_before_training(tiny):
    (tiny / "o" / NAME).mkdir(parents=True)
    (tiny / "o" / NAME / "thesis").write_text("mine")
    train = ("organism", "train", NAME, "--work", "w", "--out", "o")
    for more in ((), ("--force",)):
        assert "is no earlier model" in call(*train, *more, code=2).stderr
    assert "given for two things" in call(*train[:-1], "w", code=2).stderr
    (tiny / "w" / NAME).mkdir(parents=True)
    (tiny / "w" / NAME / "thesis").write_text("mine")
    assert "holds thesis and no checkpoint" in call(*train[:-1], "p", code=2).stderr
    assert not (tiny / "p").exists()
