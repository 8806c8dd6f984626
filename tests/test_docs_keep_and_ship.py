"""The page on keeping and shipping edits runs as it stands: its Python, and its commands in the order they are in."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import peft
import pytest
import torch
from typer.testing import CliRunner

from knowedit.cli import app

PAGE = Path(__file__).parents[1] / "docs" / "how-to" / "keep-and-ship.md"


def blocks(language: str) -> list[str]:
    text = PAGE.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def test_the_code_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    space: dict = {}
    for block in blocks("python"):
        exec(compile(block, str(PAGE), "exec"), space)
    said = capsys.readouterr().out
    assert f"on top of {space['first'].digest[:12]}, not applied" in said
    assert "transformer.h.5.mlp.c_proj" in said


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*")
def test_the_commands_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    assert len(lines) >= 6
    for line in lines:
        result = CliRunner().invoke(app, shlex.split(line)[1:])
        assert result.exit_code == 0, (line, result.output)
    from knowedit.models import load

    lm, merged = load("organism-gpt2"), load("merged-2")
    ids = torch.tensor([lm.tokenizer("Zoma Sel plays the")["input_ids"]])
    with torch.no_grad():
        expected = merged.model(ids).logits
        found = peft.PeftModel.from_pretrained(lm.model, "adapter-2")(ids).logits
    assert float((found - expected).abs().max()) <= 1e-5
