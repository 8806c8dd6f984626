from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from knowedit.editing import ROME, Edit, PrefixPlan
from knowedit.errors import InputError, NumericalError, ShapeError, SingularError
from knowedit.linalg import SecondMoment
from knowedit.models import load, locate
from tests.editing import oracles
from tests.editing.conftest import FACT, PREFIXES, moment_of
from tests.models.oracles import full_logits, hook

PAPER = ROME.paper(layer=1)


def make(lm, **changes) -> Edit:
    settings = {"statistics": moment_of(lm), "prefixes": PREFIXES} | changes
    return replace(PAPER, **settings).edit(lm, [FACT])


def test_edit_equals_the_slow_one(family, moment):
    found = make(family)
    k = oracles.key(family, 1, FACT.subject, PREFIXES)
    v, _ = oracles.value(family, 1, FACT, PAPER)
    expected = oracles.rank_one(oracles.weight(family, 1), k, v - oracles.bias(family, 1), moment.matrix)
    update = found.updates[1, "mlp_down"].materialise(torch.float64)
    torch.testing.assert_close(update, expected, atol=1e-3, rtol=5e-3)
    assert list(found.updates) == [(1, "mlp_down", "weight")]


def test_inserted_value_is_v_star_less_the_bias(fresh_lm):
    """The edited MLP says v* itself at a token whose key is k*."""
    for family in ("gpt2", "gptj", "gpt_neox"):
        lm = fresh_lm(family)
        oracles.down(lm, 1).bias.data += 3.0
        found = make(lm)
        k = oracles.key(lm, 1, FACT.subject, PREFIXES)
        v, _ = oracles.value(lm, 1, FACT, PAPER)
        with found.applied(lm):
            module = oracles.down(lm, 1)
            said = module(k.float()[None, None])[0, 0].detach()
        torch.testing.assert_close(said, v.float(), atol=2e-2, rtol=1e-2)


def test_diagnostics_are_measured_on_the_stored_weights(family):
    found = make(family)
    assert found.diagnostics.residual < 1e-5
    assert found.diagnostics.divisor > 0
    k = oracles.key(family, 1, FACT.subject, PREFIXES)
    assert found.diagnostics.divisor == pytest.approx(
        float(k @ torch.linalg.solve(moment_of(family).matrix, k)), rel=1e-3
    )
    update = found.updates[1, "mlp_down"].materialise(torch.float64)
    expected = torch.linalg.matrix_norm(update) / torch.linalg.matrix_norm(oracles.weight(family, 1))
    assert found.diagnostics.relative_change == pytest.approx(float(expected), rel=1e-6)
    keys = torch.randn(4000, family.inner_width, generator=torch.Generator().manual_seed(7)).double()
    on_text = (keys @ update.T).norm() / (keys @ oracles.weight(family, 1).T).norm()
    assert found.diagnostics.change_on_text == pytest.approx(float(on_text), rel=1e-6)


def test_half_precision_says_how_much_it_misses(tokenizer):
    from tests.conftest import make_model

    lm = load((make_model("gpt2").to(torch.bfloat16), tokenizer))
    found = make(lm)
    assert 1e-5 < found.diagnostics.residual < 0.2
    with found.applied(lm):
        assert lm.projection(1).parameter.dtype == torch.bfloat16


def test_making_an_edit_changes_nothing(family):
    before = {name: tensor.clone() for name, tensor in family.model.state_dict().items()}
    make(family)
    after = family.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_edited_mlp_says_v_star_at_the_subject(family):
    """With the bare subject as only prefix the prompt's own key is k*, so v* itself comes out there."""
    edit = make(family, prefixes=[""])
    prompt = locate(family, FACT.prompt, FACT.subject)
    v, _ = oracles.value(family, 1, FACT, PAPER)
    said = []
    with edit.applied(family), hook(oracles.mlp(family, 1), lambda out: said.append(out) or out):
        full_logits(family, prompt.ids)
    torch.testing.assert_close(said[0][0, prompt.last_subject].double(), v, atol=1e-3, rtol=1e-3)


def test_same_seed_same_edit_whatever_ran_before(family):
    """Nothing is cached or drawn behind the caller's back (peers: prefixes kept for the whole process)."""

    def bits(seed: int):
        rome = replace(PAPER, prefixes=PrefixPlan(((2, 2), (1, 5))), statistics=moment_of(family))
        edit = rome.edit(family, [FACT], generator=torch.Generator().manual_seed(seed))
        return edit.updates[1, "mlp_down"].left, edit.provenance.prefixes

    first, texts = bits(5)
    torch.manual_seed(1234)
    other, _ = bits(6)
    again, same_texts = bits(5)
    assert torch.equal(first, again)
    assert texts == same_texts
    assert not torch.equal(first, other)


def test_global_random_state_is_left_alone(family):
    state = torch.random.get_rng_state()
    rome = replace(PAPER, statistics=moment_of(family))
    rome.edit(family, [FACT], generator=torch.Generator().manual_seed(0))
    rome.edit(family, [FACT], seed=0)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_provenance_tells_how_to_make_it_again(family):
    found = replace(PAPER, statistics=moment_of(family)).edit(family, [FACT], seed=8)
    assert found.provenance.seed == 8
    assert found.provenance.facts == (FACT,)
    assert len(found.provenance.prefixes) == 50
    assert found.provenance.settings["statistics"]["tokens"] == 4000
    editor = replace(ROME.from_settings(found.provenance.settings), statistics=moment_of(family))
    drawn = editor.edit(family, list(found.provenance.facts), seed=8)
    again = replace(editor, prefixes=found.provenance.prefixes).edit(family, list(found.provenance.facts))
    assert drawn.provenance == found.provenance
    assert torch.equal(again.updates[1, "mlp_down"].left, found.updates[1, "mlp_down"].left)


def test_a_factorised_moment_gives_the_same_edit(family, moment):
    one, other = make(family), make(family, statistics=moment.factorise())
    assert torch.equal(one.updates[1, "mlp_down"].right, other.updates[1, "mlp_down"].right)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"prefixes": PrefixPlan()}, InputError, "give seed=0"),
        ({"statistics": None}, InputError, "no key statistics"),
    ],
)
def test_missing_arguments(family, change, error, words):
    with pytest.raises(error, match=words):
        make(family, **change)


def test_bad_requests_are_refused(family, moment):
    with pytest.raises(InputError, match="0 facts"):
        PAPER.edit(family, [])
    with pytest.raises(InputError, match="a bare Fact"):
        PAPER.edit(family, FACT)
    with pytest.raises(InputError, match=r"5 facts given: use FineTuning, .* or join .* with Edit\.combined"):
        PAPER.edit(family, [FACT] * 5)
    with pytest.raises(InputError, match="no edit layer is known"):
        ROME.paper().edit(family, [FACT])
    with pytest.raises(InputError, match="layers go from 0 to 3"):
        ROME.paper(layer=7).edit(family, [FACT])
    with pytest.raises(InputError, match="so give one of them"):
        PAPER.edit(family, [FACT], seed=0, generator=torch.Generator())
    with pytest.raises(InputError, match="give a tuple of texts"):
        ROME(prefixes="The city of")
    with pytest.raises(InputError, match="'mean' or 'sum'"):
        ROME.paper(kl="max")


def test_bad_statistics_are_refused(family):
    few = torch.randn(family.inner_width // 2, family.inner_width, generator=torch.Generator().manual_seed(0))
    with pytest.raises(SingularError, match="rank"):
        make(family, statistics=SecondMoment.zeros(family.inner_width, like=few).update(few))
    narrow = torch.randn(40, 5, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ShapeError, match="length 5"):
        make(family, statistics=SecondMoment.zeros(5, like=narrow).update(narrow))


def test_nan_weights_are_refused(fresh_lm):
    for family in ("gpt2", "gptj"):
        lm = fresh_lm(family)
        oracles.down(lm, 1).weight.data[0, 0] = float("nan")
        with pytest.raises(NumericalError):
            make(lm)
