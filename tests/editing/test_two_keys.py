"""v* at two keys, k* and the prompt's own: `ROME.both_keys`, and the rule for keys that nearly coincide."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from knowedit.editing import ROME, Edit, optimise_value, subject_key
from knowedit.editing.rome.insertion import ONE_KEY, insert, one_minus_cosine
from knowedit.linalg import FactorisedMoment, SecondMoment, insert_key_value
from knowedit.models import locate
from tests.editing import oracles
from tests.editing.conftest import FACT, PREFIXES, moment_of
from tests.models.oracles import full_logits, hook

SIZE, OUT = 12, 5


def problem(seed: int, spread: float = 3.0) -> tuple[Tensor, Tensor, Tensor, FactorisedMoment]:
    """W, two keys (as columns), v and C of random numbers; the deviations of C's keys differ by up to e^spread."""
    draw = torch.Generator().manual_seed(seed)
    scale = torch.exp(spread * torch.rand(SIZE, generator=draw)).double()
    keys = torch.randn(60, SIZE, generator=draw).double() * scale
    pair = torch.randn(SIZE, 2, generator=draw).double() * scale[:, None]
    weight, value = torch.randn(OUT, SIZE, generator=draw).double(), torch.randn(OUT, generator=draw).double()
    moment = SecondMoment.from_matrix(keys.T @ keys / len(keys), count=len(keys)).factorise()
    return weight, pair, value, moment


def turned(pair: Tensor, factor: FactorisedMoment, apart: float) -> Tensor:
    """A key whose cosine with the first, in the metric of C⁻¹, is 1 − apart, on the side of the second."""
    a, b = pair.T
    u = factor.solve(a)
    across = b - (b @ u) / (a @ u) * a
    across = across * ((a @ u) / (across @ factor.solve(across))).sqrt()
    cosine = 1 - apart
    return cosine * a + (1 - cosine**2) ** 0.5 * across


@given(st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_both_keys_map_to_the_value_by_the_least_change(seed: int):
    W, pair, v, factor = problem(seed)
    update = insert(W, pair[:, 0], v, factor, also=pair[:, 1])
    new = W + update.materialise(torch.float64)
    for key in pair.T:
        assert float((new @ key - v).norm()) <= 1e-8 * float(v.norm() + (W @ key).norm())
    solved = torch.linalg.solve(torch.from_numpy(factor.matrix), pair)
    expected = (v[:, None] - W @ pair) @ torch.linalg.inv(pair.T @ solved) @ solved.T
    torch.testing.assert_close(update.materialise(torch.float64), expected, rtol=1e-6, atol=1e-8)


@given(st.integers(0, 10**6), st.floats(1e-14, 1.9))
@settings(max_examples=60, deadline=None)
def test_the_cosine_of_two_keys_is_exact_where_they_nearly_coincide(seed: int, apart: float):
    _, pair, _, factor = problem(seed)
    other = turned(pair, factor, apart)
    for length in (1.0, 17.0):
        # A float64 key carries its angle to 1e-16 or so, and 1 − cos is the square of that.
        assert one_minus_cosine(pair[:, 0], length * other, factor) == pytest.approx(apart, rel=1e-5)


@given(st.integers(0, 10**6))
@settings(max_examples=30, deadline=None)
def test_keys_that_coincide_are_one_key(seed: int):
    W, pair, v, factor = problem(seed)
    key = pair[:, 0]
    one = insert_key_value(W, key, v, factor)
    for also in (key, key * (1 + 1e-12), turned(pair, factor, 0.9 * ONE_KEY)):
        found = insert(W, key, v, factor, also=also)
        assert torch.equal(found.left, one.left)
        assert torch.equal(found.right, one.right)
    assert insert(W, key, v, factor, also=turned(pair, factor, 1.1 * ONE_KEY)).rank == 2
    assert insert(W, key, v, factor, also=-key + 1e-3 * pair[:, 1]).rank == 2  # opposite is not the same


@given(st.integers(0, 10**6))
@settings(max_examples=30, deadline=None)
def test_what_the_second_key_adds_does_not_fade_as_it_comes_closer(seed: int):
    """Why there is a rule: its direction is that of the difference, however small, and so at last that of rounding."""
    W, pair, v, factor = problem(seed)
    key = pair[:, 0]
    one = insert(W, key, v, factor).materialise(torch.float64)
    added = [
        insert(W, key, v, factor, also=turned(pair, factor, apart)).materialise(torch.float64) - one
        for apart in (4 * ONE_KEY, 2 * ONE_KEY)
    ]
    assert float((added[0] - added[1]).norm()) < 0.1 * float(added[0].norm())
    assert float(added[1].norm()) > 1e-3 * float(one.norm())


def test_a_bound_shortens_a_change_of_rank_two():
    W, pair, v, factor = problem(1)
    free = insert(W, pair[:, 0], v, factor, also=pair[:, 1])
    held = insert(W, pair[:, 0], v, factor, also=pair[:, 1], bound=free.frobenius_norm() / 3)
    torch.testing.assert_close(3 * held.materialise(torch.float64), free.materialise(torch.float64))


BOTH = replace(ROME.both_keys(layer=1), max_steps=5, prefixes=tuple(PREFIXES[:1]))


def made(lm, **changes) -> Edit:
    return replace(BOTH, statistics=moment_of(lm), **changes).edit(lm, [FACT])


def said_at_the_subject(lm, edit: Edit) -> Tensor:
    """What the edited MLP puts out at the prompt's last subject token."""
    prompt, said = locate(lm, FACT.prompt, FACT.subject), []
    with edit.applied(lm), hook(oracles.mlp(lm, 1), lambda out: said.append(out) or out):
        full_logits(lm, prompt.ids)
    return said[0][0, prompt.last_subject].double()


def test_the_edited_mlp_says_v_star_at_the_prompt_as_well(family):
    """With k* alone it misses it there, since the subject behind a prefix has another key."""
    v = optimise_value(family, 1, FACT, BOTH).vector
    both, one = made(family), made(family, constraint_key="average")
    miss = [float((said_at_the_subject(family, edit) - v).norm() / v.norm()) for edit in (both, one)]
    assert miss[0] < 1e-4
    assert miss[1] > 0.05
    assert both.updates[1, "mlp_down"].rank == 2
    assert both.diagnostics.residual < 1e-5
    key = subject_key(family, 1, FACT.subject, PREFIXES[:1])
    new = oracles.weight(family, 1) + both.updates[1, "mlp_down"].materialise(torch.float64)
    assert float((new @ key + oracles.bias(family, 1) - v).norm() / v.norm()) < 1e-4


def test_the_residual_is_that_of_the_key_that_misses_more(family):
    """Rounded to half precision neither is exact, and the figure is the larger."""
    from knowedit.editing.rome.diagnostics import diagnose

    edit, factor = made(family), moment_of(family).factorise()
    value = optimise_value(family, 1, FACT, BOTH)
    projection, update = family.projection(1), edit.updates[1, "mlp_down"]
    inserted = value.vector - oracles.bias(family, 1)
    key = subject_key(family, 1, FACT.subject, PREFIXES[:1])
    figures = diagnose(projection, update, key, key * 1.5, None, inserted, factor, value)
    assert figures.residual == pytest.approx(0.5, rel=1e-4)


def test_with_the_bare_subject_for_k_star_it_is_the_papers_edit(family):
    """The prompt begins with the subject, so its own key is that of the subject alone, to rounding."""
    both, one = (made(family, prefixes=("",), constraint_key=key) for key in ("both", "average"))
    updates = [edit.updates[1, "mlp_down"] for edit in (both, one)]
    assert updates[0].rank == 1
    assert all(
        torch.equal(getattr(updates[0], side), getattr(updates[1], side)) for side in ("left", "right")
    )


def test_it_is_taken_back_to_the_last_bit_and_comes_back_from_a_file(family, tmp_path):
    edit = made(family)
    ids = locate(family, FACT.prompt, FACT.subject).ids
    before = full_logits(family, ids)
    with edit.applied(family):
        changed = full_logits(family, ids)
    assert torch.equal(full_logits(family, ids), before)
    assert not torch.equal(changed, before)
    edit.save(tmp_path / "e.safetensors")
    with Edit.load(tmp_path / "e.safetensors").applied(family):
        assert torch.equal(full_logits(family, ids), changed)


def test_its_name():
    assert ROME.both_keys().label == "ROME (both-keys)"
    assert ROME.both_keys() == replace(ROME.paper(), constraint_key="both")
