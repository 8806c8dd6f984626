"""CONTRIBUTING.md adds a family of models; this follows it, block after block, and uses what comes out."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import Any

import pytest
import torch

import knowedit
from knowedit.editing import ROME
from knowedit.facts import Fact
from knowedit.linalg import SecondMoment
from knowedit.models import FAMILIES
from tests.conftest import TINY

PAGE = Path(__file__).parents[1] / "CONTRIBUTING.md"
HEADING = "## Add a family of models"


def blocks() -> list[str]:
    section = PAGE.read_text(encoding="utf-8").split(HEADING)[1].split("\n## ")[0]
    found = re.findall(r"^ *```python\n(.*?)^ *```", section, re.DOTALL | re.MULTILINE)
    return [textwrap.dedent(block) for block in found]


@pytest.fixture(scope="module")
def followed() -> tuple[dict[str, Any], str]:
    """What the blocks define, and what they print."""
    import contextlib
    import io

    space: dict[str, Any] = {}
    with contextlib.redirect_stdout(io.StringIO()) as said:
        for block in blocks():
            exec(compile(block, PAGE.name, "exec"), space)
    return space, said.getvalue()


def test_the_section_shows_each_step(followed):
    space, said = followed
    assert len(blocks()) == 5
    assert "PhiForCausalLM(" in said
    laws = re.findall(r"^\d\S*e\S+  law (\d)", said, re.MULTILINE)
    assert laws == list("2345678")
    assert re.search(r"^law 3 .*: fails", said, re.MULTILINE)
    assert space["lm"].n_layers == 4


def test_the_example_is_not_known_by_name_yet(followed):
    """Else the page would show how to add what is there."""
    space, _ = followed
    assert set(space["in_families"]) == set(space["in_tiny"]) == {space["model"].config.model_type}
    assert not set(space["in_families"]) & set(FAMILIES)
    assert not set(space["in_tiny"]) & set(TINY)


def test_a_family_added_this_way_is_known_and_can_be_edited(followed, monkeypatch):
    space, _ = followed
    (kind, anatomy), (_, (config, model, sizes)) = *space["in_families"].items(), *space["in_tiny"].items()
    monkeypatch.setitem(FAMILIES, kind, anatomy)
    lm = knowedit.load((model(config(**sizes)).eval(), space["tokenizer"]))
    keys = torch.randn(1000, lm.inner_width, generator=torch.Generator().manual_seed(0))
    moment = SecondMoment.zeros(lm.inner_width, like=keys).update(keys)
    fact = Fact(subject="Zoma Sel", prompt="{} plays the", target_new="cello")
    edit = ROME(layer=2, statistics=moment, prefixes=("", "The city of")).edit(lm, [fact])
    before = lm.logits([fact.text])
    with edit.applied(lm):
        assert not torch.equal(lm.logits([fact.text]), before)
    assert torch.equal(lm.logits([fact.text]), before)
