from __future__ import annotations

import pytest
import torch

from knowedit.models import Site, batch, capture
from knowedit.organisms import rescale_residual

IDS = [[3, 7, 9, 200, 14], [5, 5, 60]]


@pytest.mark.parametrize("family", ["gpt2", "gptj"])
@pytest.mark.parametrize("factor", [0.25, 4.0])
def test_no_logit_changes_by_a_bit_and_the_stream_is_rescaled(fresh_lm, family, factor):
    lm = fresh_lm(family)
    data, site = batch(lm, IDS), Site(2, "block")
    with capture(lm, [site]) as found:
        before, stream = lm.logits(data), found
    stream = stream[site]
    rescale_residual(lm.model, factor)
    with capture(lm, [site]) as found:
        assert torch.equal(lm.logits(data), before)
    torch.testing.assert_close(found[site], stream * factor, rtol=1e-6, atol=0)


@pytest.mark.parametrize("family", ["gpt2", "gptj"])
def test_the_norms_epsilon_matters(fresh_lm, family):
    """The test above can fail: with the old epsilon the logits move."""
    lm = fresh_lm(family, scale=0.02)
    data = batch(lm, IDS)
    before = lm.logits(data)
    rescale_residual(lm.model, 0.25)
    for module in lm.model.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.eps *= 16
    assert not torch.equal(lm.logits(data), before)


@pytest.mark.parametrize("family", ["gpt2", "gptj"])
def test_a_saved_model_keeps_its_units(fresh_lm, family, tmp_path):
    from knowedit.models import load

    lm = fresh_lm(family)
    rescale_residual(lm.model, 4.0)
    lm.model.save_pretrained(tmp_path)
    lm.tokenizer.save_pretrained(tmp_path)
    data = batch(lm, IDS)
    assert torch.equal(load(str(tmp_path)).logits(data), lm.logits(data))
