"""A new editor is one class and one line of `EDITORS`: every command that takes an editor then takes it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from knowedit.editing import EDITORS, ROME, Edit, Editor, Provenance
from knowedit.evaluation import read_run
from knowedit.facts import Fact
from knowedit.models import LanguageModel


@dataclass(frozen=True)
class Scaled(Editor):
    """A toy: ROME's update times a number."""

    strength: float = 0.5

    def edit(
        self, lm: LanguageModel, facts: Sequence[Fact], *, generator: Any = None, seed: int | None = None
    ) -> Edit:
        whole = ROME.paper().edit(lm, facts, generator=generator, seed=seed)
        updates = {address: self.strength * update for address, update in whole.updates.items()}
        return replace(whole, updates=updates, provenance=Provenance.of(self, lm, facts))


def test_every_command_takes_it(run, monkeypatch):
    monkeypatch.setitem(EDITORS, "scaled", Scaled)
    threads = torch.get_num_threads()
    try:
        _use_it(run)
    finally:
        torch.set_num_threads(threads)


def _use_it(run: Any) -> None:
    request = ("--subject", "Zoma Sel", "--prompt", "{} plays the", "--target-new", "cello")
    run("edit", "--method", "scaled", "--set", "strength=0.25", *request, "--out", "toy.safetensors")
    toy = Edit.load("toy.safetensors")
    assert (toy.provenance.editor, toy.provenance.settings) == ("Scaled", {"strength": 0.25})

    limit = ("--limit", "2", "--no-texts")
    run("evaluate", "--method", "scaled", "--set", "strength=1.0", *limit, "--out", "whole")
    run("evaluate", "--method", "rome", *limit, "--out", "rome")
    whole, rome = read_run("whole"), read_run("rome")
    assert [one.scores for one in whole.outcomes] == [one.scores for one in rome.outcomes]
    assert whole.identity["settings"] == {"editor": "Scaled", "strength": 1.0, "version": 1}

    sweep = ("--vary", "strength=0,1", "--limit", "2", "--json", "--out", "sweep")
    best = json.loads(run("sweep", "--method", "scaled", *sweep).stdout)["best"]
    assert best["Scaled"]["strength"] == 1
    run("table", "whole", "rome", "--out", "table.csv")
    lines = Path("table.csv").read_text(encoding="utf-8").splitlines()
    assert {line.split(",")[1] for line in lines[1:]} == {"Scaled", "ROME"}
