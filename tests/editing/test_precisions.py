"""An edit in the number format that the caller chose, for every family."""

from __future__ import annotations

import pytest
import torch

from knowedit.editing import ROME
from knowedit.models import load
from tests.conftest import FAMILIES, make_model
from tests.editing import oracles
from tests.editing.conftest import FACT, PREFIXES, moment_of

# How far rounding the weights may take them from the inserted value: some units in the last place.
RESIDUAL = {torch.float16: 1e-3, torch.bfloat16: 1e-2, torch.float32: 1e-5, torch.float64: 1e-12}


@pytest.mark.parametrize("dtype", RESIDUAL, ids=str)
@pytest.mark.parametrize("name", FAMILIES)
def test_an_edit_keeps_the_models_number_format(name, dtype, tokenizer):
    lm = load((make_model(name).to(dtype), tokenizer))
    edit = ROME(layer=1, statistics=moment_of(lm), prefixes=PREFIXES).edit(lm, [FACT])
    assert edit.diagnostics.residual < RESIDUAL[dtype]
    before, stored = lm.logits([FACT.text]), oracles.down(lm, 1).weight.detach().clone()
    exact = oracles.weight(lm, 1) + edit.updates[1, "mlp_down"].materialise(torch.float64)
    with edit.applied(lm):
        assert oracles.down(lm, 1).weight.dtype == dtype
        assert torch.equal(oracles.weight(lm, 1), exact.to(dtype).double())
        after = lm.logits([FACT.text])
    assert after.dtype == dtype
    assert after.isfinite().all()
    assert not torch.equal(after, before)
    assert torch.equal(oracles.down(lm, 1).weight, stored)
    assert torch.equal(lm.logits([FACT.text]), before)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", FAMILIES)
def test_half_precision_finds_nearly_the_same_edit(name, dtype, tokenizer):
    """The solve is in float64 whatever the model: what differs is the model's own rounding."""
    edits = []
    for kind in (torch.float32, dtype):
        lm = load((make_model(name).to(dtype).to(kind), tokenizer))
        edits.append(ROME(layer=1, statistics=moment_of(lm), prefixes=PREFIXES).edit(lm, [FACT]))
    full, half = (edit.updates[1, "mlp_down"].materialise(torch.float64).flatten() for edit in edits)
    # The search for v* takes 25 steps of Adam, which rounding may lead a little astray.
    assert torch.cosine_similarity(full, half, dim=0) > (0.99 if dtype == torch.float16 else 0.9)
    assert edits[1].updates[1, "mlp_down"].left.dtype == torch.float64
