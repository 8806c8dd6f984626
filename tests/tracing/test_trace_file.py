"""A trace comes back from its file as it was, and a damaged file is refused."""

from __future__ import annotations

import json
from dataclasses import fields

import numpy as np
import pytest
import torch

from knowedit.errors import FileFormatError, InputError
from knowedit.tensorfile import Kind, write_tensors
from knowedit.tracing import Role, Substitution, Trace, Window, causal_trace
from knowedit.tracing.trace import KIND

PROMPT, SUBJECT = "In town, {} is in the city of", "Marie Curie"


@pytest.fixture(scope="module")
def trace(tiny_gpt2) -> Trace:
    generator = torch.Generator().manual_seed(8)
    how = {"part": "mlp", "window": Window.paper(2), "sever": "attention", "draws": 3}
    return causal_trace(tiny_gpt2, PROMPT, SUBJECT, generator=generator, **how)


def test_what_is_loaded_is_what_was_saved(trace, tmp_path):
    trace.save(tmp_path / "a")
    found = Trace.load(tmp_path / "a")
    for field in fields(Trace):
        own, other = getattr(trace, field.name), getattr(found, field.name)
        assert type(own) is type(other)
        assert torch.equal(own, other) if isinstance(own, torch.Tensor) else own == other
    found.save(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_without_noise(tiny_gpt2, tmp_path):
    causal_trace(tiny_gpt2, PROMPT, "Paris", corruption=Substitution("Marie")).save(tmp_path / "a")
    found = Trace.load(tmp_path / "a")
    assert found.noise is None
    assert found.provenance.corruption == {"kind": "substitution", "subject": "Marie"}
    assert found.spread.isnan().all()


def test_figures_follow_from_the_scores(trace):
    assert torch.equal(trace.effects, (trace.scores[0] + trace.scores[1] + trace.scores[2]) / 3)
    mean = float(trace.corrupted_scores.sum()) / 3
    assert trace.corrupted_score == pytest.approx(mean)
    assert trace.total_effect == pytest.approx(trace.clean_score - mean)
    torch.testing.assert_close(trace.indirect_effects, trace.effects - mean)
    differences = (trace.scores - trace.corrupted_scores[:, None, None]).numpy()
    np.testing.assert_allclose(trace.spread.numpy(), differences.std(axis=0, ddof=1), rtol=1e-9, atol=1e-15)
    assert (trace.draws, trace.n_layers) == (3, 4)
    assert trace.tokens_with(Role.LAST) == [len(trace.token_ids) - 1]


def test_provenance(trace, tiny_gpt2):
    from knowedit.models import fingerprint

    made = trace.provenance
    assert made.model == tiny_gpt2.name
    assert made.digest == fingerprint(tiny_gpt2).digest
    assert (made.seed, made.dtype) == (8, "float32")
    assert made.corruption == {"kind": "relative", "factor": 3.0}
    assert set(made.versions) == {"knowedit", "torch", "transformers"}


@pytest.mark.parametrize("cut", [0, 7, 100, -1])
def test_truncated_files(trace, tmp_path, cut):
    trace.save(tmp_path / "a")
    (tmp_path / "a").write_bytes((tmp_path / "a").read_bytes()[:cut])
    with pytest.raises(FileFormatError):
        Trace.load(tmp_path / "a")


def test_altered_files(trace, tmp_path):
    trace.save(tmp_path / "a")
    data = bytearray((tmp_path / "a").read_bytes())
    for place in (len(data) - 3, data.index(b"Marie") + 1):
        changed = bytearray(data)
        changed[place] ^= 1
        (tmp_path / "a").write_bytes(changed)
        with pytest.raises(FileFormatError):
            Trace.load(tmp_path / "a")


def rewritten(trace: Trace, path, kind=KIND, drop=(), **entries):
    trace.save(path)
    from knowedit.tensorfile import read_tensors

    content = read_tensors(path, KIND)
    old = json.loads(content.metadata["trace"]) | entries
    tensors = {name: value for name, value in content.tensors.items() if name not in drop}
    kept = {name: value for name, value in old.items() if name not in drop}
    write_tensors(path, kind, tensors, {"trace": json.dumps(kept)})


@pytest.mark.parametrize(
    "change",
    [
        {"drop": ("scores",)},
        {"drop": ("provenance",)},
        {"token_ids": [1, 2]},
        {"subject": [3, 99]},
        {"roles": ["hero"]},
        {"window": {"before": -1, "after": 0}},
        {"window": 3},
        {"extra": 1},
    ],
    ids=str,
)
def test_files_with_wrong_entries(trace, tmp_path, change):
    rewritten(trace, tmp_path / "a", **change)
    with pytest.raises(FileFormatError, match="make the trace again"):
        Trace.load(tmp_path / "a")


def test_another_kind_or_no_file(trace, tmp_path):
    rewritten(trace, tmp_path / "a", kind=Kind("edit", "1", "edit", "Edit.save"))
    with pytest.raises(FileFormatError, match="not a saved trace"):
        Trace.load(tmp_path / "a")
    with pytest.raises(InputError, match="no file"):
        Trace.load(tmp_path / "b")
