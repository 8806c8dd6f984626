from __future__ import annotations

import pytest
import torch

from knowedit.errors import InputError
from knowedit.models import Site, batch, capture, visit

TEXTS = ["Paris is a city in Brazil.", "Marie", "Miles Davis plays"]


def all_hooks(lm):
    return [
        hook
        for module in lm.model.modules()
        for hook in (*module._forward_hooks.values(), *module._forward_pre_hooks.values())
    ]


def called_modules(lm, run):
    """The paths of all modules that ``run`` calls to their end."""
    called, handles = set(), []
    for name, module in lm.model.named_modules():
        handles.append(module.register_forward_hook(lambda _m, _a, _o, name=name: called.add(name)))
    run()
    for handle in handles:
        handle.remove()
    return called


@pytest.mark.parametrize("part", ["mlp_down", "mlp_up", "attention_out"])
def test_a_visitor_sees_what_a_whole_forward_shows(family, part):
    data = batch(family, TEXTS)
    sites = [Site(layer, part, "input") for layer in (2, 0, 3)]
    seen = {}
    visit(family, data, {site: lambda value, site=site: seen.update({site: value}) for site in sites})
    with capture(family, sites) as expected:
        family.logits(data)
    assert all(torch.equal(seen[site], expected[site]) for site in sites)


def test_nothing_runs_after_the_last_site(family):
    """No later block, no norm, no head, and not the projection itself."""
    data = batch(family, TEXTS)
    sites = {Site(layer, "mlp_down", "input"): lambda value: None for layer in (0, 1)}
    called = called_modules(family, lambda: visit(family, data, sites))
    anatomy = family.anatomy
    assert anatomy.path("block", 0) in called
    assert anatomy.path("mlp_up", 1) in called
    for part in ("mlp_down", "mlp", "block"):
        assert anatomy.path(part, 1) not in called
    assert not any(name.startswith(anatomy.path("block", 2)) for name in called)
    assert {anatomy.final_norm, anatomy.head, ""}.isdisjoint(called)


def test_the_model_is_as_before(family):
    data = batch(family, TEXTS)
    before = family.logits(data)
    visit(family, data, {Site(1, "mlp_down", "input"): lambda value: None})
    assert all_hooks(family) == []
    assert torch.equal(family.logits(data), before)


def test_no_gradient_is_kept(family):
    seen = []
    visit(family, batch(family, TEXTS), {Site(1, "mlp_down", "input"): seen.append})
    assert not seen[0].requires_grad


def test_an_error_of_a_visitor_is_not_swallowed(family):
    def fail(value):
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        visit(family, batch(family, TEXTS), {Site(1, "mlp_down", "input"): fail})
    assert all_hooks(family) == []


def test_no_site_and_an_unknown_one_are_refused(family):
    data = batch(family, TEXTS)
    with pytest.raises(InputError, match="no site"):
        visit(family, data, {})
    with pytest.raises(InputError, match="layers go from 0 to 3"):
        visit(family, data, {Site(4, "mlp_down", "input"): lambda value: None})


def test_a_site_that_the_forward_does_not_reach_is_an_error(fresh_lm, monkeypatch):
    lm = fresh_lm("gpt2")
    mlp = lm.module("mlp", 1)
    monkeypatch.setattr(mlp, "forward", lambda states: states)
    with pytest.raises(InputError, match=r"never reached.*mlp_down"):
        visit(lm, batch(lm, TEXTS), {Site(1, "mlp_down", "input"): lambda value: None})
