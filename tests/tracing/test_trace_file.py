"""A trace comes back from its file as it was, and a damaged file is refused."""

from __future__ import annotations

import json
from dataclasses import fields

import numpy as np
import pytest
import torch

from knowedit.errors import FileFormatError, InputError
from knowedit.tensorfile import Kind, write_tensors
from knowedit.tracing import Role, Substitution, Trace, TraceSettings, Window, causal_trace
from knowedit.tracing.trace import KIND

PROMPT, SUBJECT = "In town, {} is in the city of", "Marie Curie"


@pytest.fixture(scope="module")
def trace(tiny_gpt2) -> Trace:
    settings = TraceSettings("mlp", Window.paper(2), "attention", draws=3)
    return causal_trace(tiny_gpt2, PROMPT, SUBJECT, settings=settings, seed=8)


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
    settings = TraceSettings(corruption=Substitution("Marie"))
    causal_trace(tiny_gpt2, PROMPT, "Paris", settings=settings).save(tmp_path / "a")
    found = Trace.load(tmp_path / "a")
    assert found.noise is None
    assert found.settings == TraceSettings(corruption=Substitution("Marie"), draws=1)
    assert found.spread.isnan().all()


def test_figures_follow_from_the_scores(trace):
    assert torch.equal(
        trace.restored, (trace.restored_draws[0] + trace.restored_draws[1] + trace.restored_draws[2]) / 3
    )
    mean = float(trace.corrupted_draws.sum()) / 3
    assert trace.corrupted == pytest.approx(mean)
    assert trace.total_effect == pytest.approx(trace.clean - mean)
    torch.testing.assert_close(trace.indirect_effects, trace.restored - mean)
    differences = (trace.restored_draws - trace.corrupted_draws[:, None, None]).numpy()
    np.testing.assert_allclose(trace.spread.numpy(), differences.std(axis=0, ddof=1), rtol=1e-9, atol=1e-15)
    assert (trace.settings.draws, trace.n_layers) == (3, 4)
    assert trace.tokens_with(Role.LAST) == [len(trace.token_ids) - 1]


def test_provenance(trace, tiny_gpt2):
    from knowedit.models import fingerprint

    made = trace.provenance
    assert made.model == tiny_gpt2.name
    assert made.digest == fingerprint(tiny_gpt2).digest
    assert (made.seed, made.dtype) == (8, "float32")
    assert trace.settings.corruption.settings() == {"kind": "relative", "factor": 3.0}
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
    write_tensors(path, kind, tensors, {"trace": json.dumps(kept)}, force=True)


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


def test_a_trace_is_told_in_one_line(trace):
    text = repr(trace)
    assert len(text) < 300
    for words in ("Marie Curie", "MLP, 2 layers, attention severed", "3 draws", f"clean {trace.clean:.3f}"):
        assert words in text


def test_a_notebook_shows_every_cell(trace):
    found = trace._repr_html_()
    assert found.count("<td ") == trace.restored.numel()
    assert found.count("*</th>") == trace.subject[1] - trace.subject[0]
    highest = int(trace.restored.argmax())
    assert found.split("<td ")[highest + 1].startswith('style="background:rgb(59,15,112)')


def test_a_data_frame_has_a_row_for_each_cell(trace):
    pytest.importorskip("pandas", reason="pandas is no requirement")
    frame = trace.to_pandas()
    assert len(frame) == trace.restored.numel()
    row = frame[(frame.token == 2) & (frame.layer == 3)].iloc[0]
    assert row.restored == trace.restored[2, 3]
    assert row.indirect_effect == trace.indirect_effects[2, 3]
    assert (row.text, row.role) == (trace.tokens[2], trace.roles[2].value)
