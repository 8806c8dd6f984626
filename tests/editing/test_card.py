"""An export says what it is, and the code on its card loads it."""

from __future__ import annotations

import contextlib
import io
import json
import re
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from markdown_it import MarkdownIt

from knowedit.bundled import bundled_models
from knowedit.editing import Edit
from knowedit.editing.edits.card import card, span
from knowedit.errors import BaseMismatchError, InputError
from knowedit.facts import Fact
from knowedit.models import load
from tests.conftest import make_model
from tests.editing.conftest import low_rank, plain_edit

HOSTILE = "`</code>```\n\n# [x](javascript:alert(1)) <img src=x onerror=alert(1)> | `` \u202e\x1b[31m $x$"


@pytest.fixture(scope="module")
def opened(tmp_path_factory, tokenizer):
    """A tiny model that was saved to a folder and opened from it, and an edit of it."""
    folder = tmp_path_factory.mktemp("models") / "openai" / "gpt2"  # the end of its path is an id on the Hub
    make_model("gpt2").save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    lm = load(folder)
    edit = plain_edit(lm, {(1, "mlp_down"): low_rank(lm, 1, "mlp_down")})
    return lm, replace(edit, provenance=replace(edit.provenance, source=lm.source))


def code_of(folder: Path) -> str:
    (found,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), flags=re.S)
    return found


def run(folder: Path, monkeypatch) -> dict:
    """The names that the code on the card leaves, run in the export's folder."""
    monkeypatch.chdir(folder)
    names: dict = {}
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        exec(compile(code_of(folder), str(folder), "exec"), names)
    return names


def logits(model) -> torch.Tensor:
    with torch.no_grad():
        return model(torch.tensor([[5, 9, 300, 41, 7, 77]])).logits


@pytest.mark.parametrize("to", ["peft", "merged"])
def test_the_code_on_the_card_loads_what_the_edit_does(opened, tmp_path, monkeypatch, to):
    lm, edit = opened
    edit.save(tmp_path / "e")
    saved = Edit.load(tmp_path / "e")
    if to == "peft":
        saved.to_peft(tmp_path / "x")
    else:
        saved.merged(lm, tmp_path / "x")
    with edit.applied(lm):
        expected = logits(lm.model)
    names = run(tmp_path / "x", monkeypatch)
    assert float((logits(names["model"]) - expected).abs().max()) <= 1e-5
    assert names["tokenizer"].get_vocab() == lm.tokenizer.get_vocab()


def test_an_edit_remembers_where_its_model_was(opened, tmp_path, monkeypatch):
    lm, edit = opened
    assert (lm.name, Path(lm.source).is_absolute()) == ("gpt2", True)
    edit.to_peft(tmp_path / "x")
    config = json.loads((tmp_path / "x" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == lm.source
    monkeypatch.chdir(Path(lm.source).parent)
    assert load("gpt2").source == lm.source == load((lm.model, lm.tokenizer)).name
    assert load("organism-gpt2").source is None


def test_the_base_of_a_bundled_model_is_its_folder(opened, tmp_path):
    _, edit = opened
    named = replace(edit, provenance=replace(edit.provenance, source=None, model="organism-gpt2"))
    named.to_peft(tmp_path / "x")
    config = json.loads((tmp_path / "x" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(bundled_models()["organism-gpt2"])
    assert "knowedit.load('organism-gpt2').model" in (tmp_path / "x" / "README.md").read_text()


def test_an_edit_that_remembers_nothing_is_as_it_was(opened):
    _, edit = opened
    plain = replace(edit, provenance=replace(edit.provenance, source=None))
    assert "source" not in plain.provenance.as_json()
    assert plain.digest != edit.digest
    assert Edit.combined([edit]).provenance.source == edit.provenance.source


@pytest.mark.parametrize("by", ["model", "folder", "nothing"])
def test_any_other_base_is_refused(opened, tmp_path, tokenizer, by):
    _, edit = opened
    make_model("gpt2", seed=5).save_pretrained(tmp_path / "other")
    tokenizer.save_pretrained(tmp_path / "other")
    if by == "nothing":
        with pytest.raises(InputError, match="no model '/no/such/folder'"):
            edit.to_peft(tmp_path / "x", base_model="/no/such/folder")
    elif by == "model":
        with pytest.raises(BaseMismatchError, match="other weights"):
            edit.to_peft(tmp_path / "x", load(tmp_path / "other"))
    else:
        with pytest.raises(BaseMismatchError, match="other weights"):
            edit.to_peft(tmp_path / "x", base_model=str(tmp_path / "other"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other"]


def kinds(text: str) -> set[str]:
    """The kinds of everything in a Markdown text, as CommonMark has it."""
    found: set[str] = set()
    for token in MarkdownIt("commonmark").parse(text):
        found |= {token.type, *(child.type for child in token.children or ())}
    return found


def test_texts_of_facts_stay_texts(opened):
    """No fact, name or path makes a heading, a link or HTML, or ends the fence that it stands in."""
    _, edit = opened
    facts = tuple(Fact(f"{HOSTILE} {n}", "{} plays the", f"piano {HOSTILE}") for n in range(60))
    settings = {"text": HOSTILE, "parts": HOSTILE}
    hostile = replace(edit.provenance, facts=facts, settings=settings, model=HOSTILE, editor=HOSTILE)
    hostile_card = card(
        [replace(edit, provenance=hostile)], "adapter", f"/models/{HOSTILE}", "float32"
    ).decode()
    plain_card = card([edit], "adapter", "/models/a", "float32").decode()
    body = hostile_card.split("---\n", 2)[2]
    assert kinds(body) == kinds(plain_card.split("---\n", 2)[2])
    assert not kinds(body) & {"html_block", "html_inline", "link_open", "image"}
    assert all(sign.isprintable() or sign == "\n" for sign in hostile_card)
    assert "and 10 more" in hostile_card
    compile(re.search(r"```python\n(.*?)```\n", body, flags=re.S)[1], "card", "exec")


@pytest.mark.parametrize("text", ["a", "`", "``a`", " a ", "", "a`b``c", "<b>", "# x"])
def test_a_code_span_shows_the_text(text):
    (inline,) = [token for token in MarkdownIt("commonmark").parse(f"x {span(text)}") if token.children]
    (code,) = [child for child in inline.children if child.type == "code_inline"]
    assert code.content.strip() == text.strip()
