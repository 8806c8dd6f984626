"""Replacing and capturing tensors, against plain hooks."""

from __future__ import annotations

import pytest
import torch

from knowedit.errors import InputError
from knowedit.models import LanguageModel, Site, capture, intervene
from tests.conftest import noise
from tests.models.oracles import hook, hook_count, part_of

TEXTS = ["The Space Needle is in", "Paris is"]
OUTPUTS = [
    Site(None, "embedding"),
    Site(1, "block"),
    Site(1, "attention"),
    Site(1, "attention_out"),
    Site(1, "mlp"),
    Site(1, "mlp_up"),
    Site(1, "mlp_down"),
    Site(None, "final_norm"),
]
INPUTS = [Site(site.layer, site.part, "input") for site in OUTPUTS[1:]] + [Site(None, "head", "input")]
IDS = [f"{site.part}-{site.at}" for site in OUTPUTS + INPUTS]


def plain_module(lm: LanguageModel, site: Site) -> torch.nn.Module:
    return part_of(lm, site.part, site.layer)


@pytest.mark.parametrize("site", OUTPUTS, ids=IDS[: len(OUTPUTS)])
def test_changed_output_equals_a_plain_hook(family: LanguageModel, site: Site):
    def change(value):
        value = value.clone()
        value[:, 1] += 3 * noise(value.shape[-1])
        return value

    base = family.logits(TEXTS)
    with hook(plain_module(family, site), change):
        expected = family.logits(TEXTS)
    with intervene(family, {site: change}):
        found = family.logits(TEXTS)
    assert torch.equal(found, expected)
    assert not torch.allclose(found, base, atol=1e-3)
    assert torch.equal(family.logits(TEXTS), base)


@pytest.mark.parametrize("site", INPUTS, ids=IDS[len(OUTPUTS) :])
def test_changed_input_reaches_the_module(family: LanguageModel, site: Site):
    seen = []

    def look(_module, args, kwargs):
        seen.append(args[0] if args else kwargs["hidden_states"])

    with intervene(family, {site: lambda value: value * 2}):
        # Registered later, so it sees what the intervention made.
        handle = plain_module(family, site).register_forward_pre_hook(look, with_kwargs=True)
        with capture(family, [site]) as found:
            family.logits(TEXTS)
    handle.remove()
    with capture(family, [site]) as before:
        family.logits(TEXTS)
    assert torch.equal(seen[0], before[site] * 2)
    assert torch.equal(found[site], before[site] * 2)
    assert hook_count(family) == 0


@pytest.mark.parametrize("site", OUTPUTS + INPUTS, ids=IDS)
def test_capture_changes_nothing(family: LanguageModel, site: Site):
    base = family.logits(TEXTS)
    with capture(family, [site]) as seen:
        assert seen == {}
        assert torch.equal(family.logits(TEXTS), base)
    assert seen[site].shape[:2] == (2, family.logits(TEXTS).shape[1])
    assert hook_count(family) == 0


def test_captured_states_are_the_models_own(family: LanguageModel):
    sites = [Site(layer, "block") for layer in range(3)] + [Site(0, "block", "input")]
    with capture(family, sites) as seen:
        family.logits(TEXTS)
    from knowedit.models import batch

    data = batch(family, TEXTS)
    with torch.no_grad():
        # Read apart from any hook of ours: the library's own capture stays on the model, so use a copy.
        from copy import deepcopy

        states = deepcopy(family.model)(
            input_ids=data.ids,
            attention_mask=data.mask,
            position_ids=data.positions,
            output_hidden_states=True,
        ).hidden_states
    assert torch.equal(seen[Site(0, "block", "input")], states[0])
    for layer in range(3):
        assert torch.equal(seen[Site(layer, "block")], states[layer + 1])


def test_a_function_may_write_into_its_argument(family: LanguageModel):
    site = Site(1, "block")

    def overwrite(value):
        value[:, 1] = 0
        return value

    with (
        capture(family, [site]) as before,
        intervene(family, {site: overwrite}),
        capture(family, [site]) as after,
    ):
        family.logits(TEXTS)
    assert before[site][:, 1].abs().min() > 0
    assert after[site][:, 1].abs().max() == 0


def test_several_sites_and_nesting(family: LanguageModel):
    a, b = Site(0, "mlp"), Site(2, "attention")
    with intervene(family, {a: lambda v: v * 2, b: lambda v: v + 1}):
        together = family.logits(TEXTS)
    with intervene(family, {a: lambda v: v * 2}), intervene(family, {b: lambda v: v + 1}):
        assert torch.equal(family.logits(TEXTS), together)
    with intervene(family, {a: lambda v: v * 3}), intervene(family, {a: lambda v: v + 1}):
        first = family.logits(TEXTS)
    with intervene(family, {a: lambda v: v * 3 + 1}):
        assert torch.equal(family.logits(TEXTS), first)


def test_gradients_flow(family: LanguageModel):
    delta = torch.zeros(family.width, requires_grad=True)
    with (
        intervene(family, {Site(1, "mlp"): lambda v: v + delta}),
        capture(family, [Site(2, "block")]) as seen,
    ):
        family.model(torch.tensor([[5, 6, 7]])).logits[0, -1, 3].backward(inputs=[delta])
    assert delta.grad.abs().max() > 0
    assert seen[Site(2, "block")].requires_grad
    assert all(p.grad is None for p in family.model.parameters())


class Boom(Exception):
    pass


def boom(_value):
    raise Boom


def test_hooks_are_gone_after_an_exception(family: LanguageModel):
    base = family.logits(TEXTS)
    with pytest.raises(Boom), intervene(family, {Site(1, "mlp"): boom, Site(0, "mlp"): lambda v: v * 2}):
        family.logits(TEXTS)
    assert hook_count(family) == 0
    with pytest.raises(Boom), intervene(family, {Site(1, "mlp"): lambda v: v * 2}), capture(family, OUTPUTS):
        raise Boom
    assert hook_count(family) == 0
    with pytest.raises(InputError), intervene(family, {Site(1, "mlp"): boom, Site(99, "mlp"): boom}):
        pass
    assert hook_count(family) == 0
    assert torch.equal(family.logits(TEXTS), base)


@pytest.mark.parametrize(
    "bad",
    [lambda v: None, lambda v: v[:, :1], lambda v: v.double(), lambda v: (v,), lambda v: v[0]],
    ids=["nothing", "fewer tokens", "other dtype", "tuple", "fewer axes"],
)
@pytest.mark.parametrize("site", [Site(1, "block"), Site(1, "attention", "input")], ids=["out", "in"])
def test_bad_results_are_named(family: LanguageModel, bad, site):
    with (
        pytest.raises(InputError, match=r"returned .* expected a torch\.float32 tensor"),
        intervene(family, {site: bad}),
    ):
        family.logits(TEXTS)
    assert hook_count(family) == 0


@pytest.mark.parametrize(
    ("site", "message"),
    [
        (Site(4, "mlp"), "from 0 to 3"),
        (Site(-1, "block"), "from 0 to 3"),
        (Site(1, "hidden"), "use one of"),
        (Site(None, "mlp"), "give its layer"),
        (Site(1, "embedding"), "leave out the layer"),
        (Site(1, "mlp", "inside"), "'output' or 'input'"),
    ],
)
def test_bad_sites(family: LanguageModel, site, message):
    for enter in (intervene(family, {site: boom}), capture(family, [site])):
        with pytest.raises(InputError, match=message), enter:
            pass
    assert hook_count(family) == 0


def test_noise_on_some_rows_only(family: LanguageModel):
    """The corrupted run of causal tracing: row 0 stays clean."""
    eps = noise(2, 3, family.width)

    def corrupt(value):
        value[1:, 1:4] += eps
        return value

    ids = [[5, 6, 7, 8, 9, 10]] * 3
    with intervene(family, {Site(None, "embedding"): corrupt}):
        found = family.logits(ids)
    clean = family.logits(ids)
    torch.testing.assert_close(found[0], clean[0])
    assert not torch.allclose(found[1], found[2], atol=1e-2)
