"""A model spread over two devices: nothing of ours lets tensors of both meet."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from knowedit.models import LanguageModel, batch

ROOT = Path(__file__).parents[2]
# A tied head, blocks that return tuples, and rotary tables among the arguments.
FAMILIES = ("gpt2", "gptj", "llama")
HERE = (
    "logits",
    "last logits",
    "scores",
    "greedy text",
    "drawn text",
    "laws",
    "fingerprint",
    "replay from the first device",
    "replay on the second",
)
BEYOND = (
    "replayed rows",
    "edit on the first device",
    "edit before the seam",
    "edit on the second device",
)


@pytest.fixture(scope="module")
def outcomes() -> dict[str, dict[str, str]]:
    pytest.importorskip("accelerate", reason="accelerate puts a model on several devices")
    if not hasattr(torch.utils.backend_registration, "_setup_privateuseone_for_python_backend"):
        pytest.skip("this PyTorch cannot make up a second device")
    command = [sys.executable, "-m", "tests.models.second_device", *FAMILIES]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("check", HERE)
@pytest.mark.parametrize("name", FAMILIES)
def test_two_devices_give_what_one_gives(name, check, outcomes):
    assert outcomes[name][check] == "ok"


@pytest.mark.parametrize("check", BEYOND)
@pytest.mark.parametrize("name", FAMILIES)
def test_replayed_rows_and_edits_on_two_devices(name, check, outcomes):
    assert outcomes[name][check] == "ok"


@pytest.mark.parametrize("name", FAMILIES)
def test_the_second_device_refuses_to_mix(name, outcomes):
    """Else the tests above could not fail."""
    assert "tensors on far and cpu" in outcomes[name]["mixed"]


def test_inputs_go_where_the_embedding_is(family: LanguageModel):
    data = batch(family, ["Paris is", "The"])
    where = family.module("embedding").weight.device
    assert {part.device for part in (data.ids, data.mask, data.positions, data.lengths)} == {where}
