"""Addresses, updates, and edits made from edits."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from knowedit.editing import Address, Dense, Edit, Updates, applied_edits
from knowedit.errors import BaseMismatchError, InputError, ShapeError
from knowedit.linalg import LowRank
from knowedit.models import load
from tests.conftest import make_model, noise
from tests.editing.conftest import FACT, bias, changed, dense, low_rank, plain_edit, state

DOWN = Address(1, "mlp_down")


def test_addresses_are_short_for_weights_and_full_for_biases(family):
    weight, offset = low_rank(family, 1, "mlp_down"), Dense(noise(32), torch.float32)
    updates = Updates({(1, "mlp_down"): weight, (1, "mlp_down", "bias"): offset})
    assert list(updates) == [(1, "mlp_down", "weight"), (1, "mlp_down", "bias")]
    assert updates[1, "mlp_down"] is updates[DOWN] is updates[1, "mlp_down", "weight"] is weight
    assert updates[1, "mlp_down", "bias"] is offset
    assert (1, "mlp_down") in updates
    assert (2, "mlp_down") not in updates
    assert len(updates) == 2
    assert "mlp_down" in repr(updates)
    assert [str(address) for address in updates] == ["layer 1 mlp_down", "layer 1 mlp_down bias"]


@pytest.mark.parametrize(
    "address", [(1,), 1, ("mlp_down", 1), (1, "mlp_down", "weights"), (1, "a", "bias", 2)]
)
def test_what_is_no_address_is_refused(address):
    with pytest.raises(InputError, match="is not an address"):
        Updates({address: Dense(noise(2, 2), torch.float32)})


def test_shapes_fit_the_tensor():
    for address, shape in (((1, "mlp_down"), (3,)), ((1, "mlp_down", "bias"), (3, 3))):
        with pytest.raises(InputError, match="has shape"):
            Updates({address: Dense(noise(*shape), torch.float32)})


@pytest.mark.parametrize("matrix", [torch.ones(2, 2, dtype=torch.int64), torch.ones(()), torch.ones(2, 2, 2)])
def test_what_is_no_dense_update_is_refused(matrix):
    with pytest.raises(ShapeError, match="float32 or float64"):
        Dense(matrix, torch.float32)


def test_dense_keeps_its_numbers():
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        given = noise(3, 4).to(dtype)
        found = Dense(given, torch.float16)
        assert found.matrix.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
        assert torch.equal(found.matrix.to(dtype), given)
        assert found.materialise().dtype == torch.float16
        assert found.frobenius_norm() == pytest.approx(float(given.double().norm()))
        assert (found.shape, found.rank) == ((3, 4), 3)
    assert not Dense(noise(2, 2).requires_grad_(), torch.float32).matrix.requires_grad


def test_an_edit_of_nothing_is_refused(family):
    with pytest.raises(InputError, match="at least one"):
        plain_edit(family, {})


def test_a_fine_tuned_weight_comes_out_as_it_was_trained(family):
    """Kept as the difference in float64, a dense update gives exactly the trained weight."""
    projection = family.projection(1)
    trained = projection.weight.detach() + 0.01 * noise(*projection.weight.shape)
    change = Dense(trained.double() - projection.weight.detach().double(), torch.float32)
    with plain_edit(family, {DOWN: change}).applied(family):
        assert torch.equal(projection.weight, trained)


# Several as one


def three(lm) -> list[Edit]:
    thin, two = (low_rank(lm, 1, "mlp_down", rank=rank, seed=rank) for rank in (1, 2))
    up, whole = low_rank(lm, 0, "mlp_up"), dense(lm, 0, "mlp_up")
    return [
        plain_edit(lm, {DOWN: thin}, "piano"),
        plain_edit(lm, {DOWN: two, (0, "mlp_up"): whole}, "cello"),
        plain_edit(lm, {(0, "mlp_up"): up, **bias(lm, 1, "mlp_down")}, "flute"),
    ]


def test_combined_is_the_sum(family, tmp_path):
    edits = three(family)
    one = Edit.combined(edits)
    for address in one.updates:
        parts = [
            edit.updates[address].materialise(torch.float64) for edit in edits if address in edit.updates
        ]
        torch.testing.assert_close(
            one.updates[address].materialise(torch.float64), sum(parts), rtol=0, atol=1e-14
        )
    assert one.updates[DOWN].rank == 3
    assert isinstance(one.updates[0, "mlp_up"], Dense)
    handles = [edit.apply(family) for edit in edits]
    stacked = state(family)
    for handle in handles:
        handle.remove()
    with one.applied(family):
        for name, tensor in family.model.state_dict().items():
            torch.testing.assert_close(tensor, stacked[name], rtol=3e-7, atol=1e-7)
    one.save(tmp_path / "e")
    assert Edit.load(tmp_path / "e").provenance == one.provenance


def test_combined_keeps_what_is_known_of_each(family):
    edits = three(family)
    worst = replace(edits[1].diagnostics, residual=0.5, divisor=1.0, steps=25, probability=0.6)
    worse = replace(edits[1], diagnostics=worst)
    found = Edit.combined([edits[0], worse])
    assert [fact.target_new for fact in found.provenance.facts] == ["piano", "cello"]
    assert [part["digest"] for part in found.provenance.settings["parts"]] == [edits[0].digest, worse.digest]
    assert found.provenance.parts == (edits[0].digest, worse.digest)
    assert worse.provenance.parts == ()
    flight, first = found.diagnostics, edits[0].diagnostics
    assert (flight.residual, flight.divisor, flight.steps, flight.probability) == (0.5, 1.0, 25, 0.6)
    assert flight.relative_change == pytest.approx(2 * first.relative_change)
    assert flight.change_on_text == pytest.approx(2 * first.change_on_text)
    assert (found.places.keys(), found.base) == ({DOWN, Address(0, "mlp_up")}, edits[0].base)


def test_combined_of_combined_knows_all_its_parts(family, tmp_path):
    first, second, third = three(family)
    inner = Edit.combined([first, second])
    outer = Edit.combined([inner, third])
    assert outer.provenance.parts == tuple(edit.digest for edit in (inner, first, second, third))
    outer.save(tmp_path / "e")
    assert Edit.load(tmp_path / "e").provenance == outer.provenance
    with outer.applied(family):
        for edit in (inner, first, third):
            with pytest.raises(InputError, match="already"):
                edit.apply(family)
    assert len(inner.provenance.settings["parts"]) == 2


def test_combined_edits_that_were_made_one_on_the_other(family):
    first, second, _ = three(family)
    with first.applied(family):
        above = plain_edit(family, {DOWN: low_rank(family, 1, "mlp_down", seed=5)}, "harp")
    assert Edit.combined([first, above]).provenance.on_top_of == ()
    assert Edit.combined([second, above]).provenance.on_top_of == (first.digest,)
    assert Edit.combined([Edit.combined([first, second]), above]).provenance.on_top_of == ()
    with pytest.raises(InputError, match=f"on top of {first.digest[:12]}: give that one before"):
        Edit.combined([above, first])


def test_what_cannot_be_combined_is_refused(family, fresh_lm):
    first, second, _ = three(family)
    odd = LowRank(noise(3, 1), noise(4, 1), torch.float32)
    other = plain_edit(fresh_lm("gpt2", seed=3), {DOWN: low_rank(fresh_lm("gpt2"), 1, "mlp_down")})
    for edits, error, words in (
        ([], InputError, "no edit to combine"),
        ([first, first], InputError, "given twice"),
        ([Edit.combined([first, second]), second], InputError, "given twice"),
        ([first, other], BaseMismatchError, "made for different weights"),
        ([first, replace(second, updates={DOWN: odd})], InputError, "shapes"),
    ):
        with pytest.raises(error, match=words):
            Edit.combined(edits)


# Of lower rank


def test_compressed_is_the_nearest_and_says_what_it_loses(family):
    """Eckart and Young: the error is that of the singular values left out, and no other matrix does better."""
    offset = bias(family, 2, "mlp_down")
    updates = {
        DOWN: dense(family, 1, "mlp_down"),
        (0, "mlp_up"): low_rank(family, 0, "mlp_up", rank=2),
        **offset,
    }
    edit = plain_edit(family, updates)
    found = edit.compressed(4)
    update = found.updates[DOWN]
    assert isinstance(update, LowRank)
    assert update.rank == 4
    full = updates[DOWN].matrix.double()
    sizes = torch.linalg.svdvals(full)
    lost = float((update.materialise(torch.float64) - full).norm() / full.norm())
    assert found.diagnostics.compression == {"layer 1 mlp_down": pytest.approx(lost, rel=1e-9)}
    assert lost == pytest.approx(float((sizes[4:] ** 2).sum().sqrt() / (sizes**2).sum().sqrt()), rel=1e-9)
    assert found.diagnostics.warnings() != []
    assert found.updates[0, "mlp_up"] is edit.updates[0, "mlp_up"]
    assert all(found.updates[address] is edit.updates[address] for address in offset)
    assert found.digest != edit.digest
    assert edit.diagnostics.compression == {}
    assert edit.compressed(1).diagnostics.compression.keys() == {"layer 1 mlp_down", "layer 0 mlp_up"}
    whole = edit.compressed(min(full.shape))
    assert whole.diagnostics.compression["layer 1 mlp_down"] < 1e-12
    torch.testing.assert_close(whole.updates[DOWN].materialise(torch.float64), full, rtol=0, atol=1e-12)


def test_a_dense_update_of_low_rank_is_compressed_without_loss(family):
    thin = low_rank(family, 1, "mlp_down", rank=2)
    found = plain_edit(family, {DOWN: Dense(thin.materialise(torch.float64), torch.float32)}).compressed(2)
    assert found.diagnostics.compression["layer 1 mlp_down"] < 1e-12
    zero = plain_edit(family, {DOWN: Dense(torch.zeros(thin.shape), torch.float32)}).compressed(1)
    assert zero.diagnostics.compression == {"layer 1 mlp_down": 0.0}


@pytest.mark.parametrize("rank", [0, -1])
def test_a_rank_below_one_is_refused(family, rank):
    with pytest.raises(InputError, match="expected at least 1"):
        plain_edit(family, {DOWN: dense(family, 1, "mlp_down")}).compressed(rank)


def test_half_precision_stacks_are_rounded_once(tokenizer):
    lm = load((make_model("gpt2").to(torch.bfloat16), tokenizer))
    before = state(lm)
    edits = [
        plain_edit(lm, {DOWN: low_rank(lm, 1, "mlp_down", seed=s)}, FACT.target_new + str(s))
        for s in range(4)
    ]
    handles = [edit.apply(lm) for edit in edits]
    total = before["transformer.h.1.mlp.c_proj.weight"].double()
    for edit in edits:
        total = total + edit.updates[DOWN].materialise(torch.float64).T
    torch.testing.assert_close(lm.projection(1).parameter.detach(), total.bfloat16(), rtol=0, atol=0)
    for handle in handles:
        handle.remove()
    assert (changed(lm, before), applied_edits(lm)) == ([], ())


def two_columns(dtype=torch.float32) -> LowRank:
    draw = torch.Generator().manual_seed(4)
    return LowRank(torch.randn(5, 2, generator=draw), torch.randn(7, 2, generator=draw), dtype)


def cut_of(update, rank: int):
    """The update of at most that rank, and what that lost, None if it is as it was."""
    updates, lost = Updates({DOWN: update}).cut(rank)
    return updates[DOWN], lost.get(DOWN)


def test_a_low_rank_update_is_cut_to_the_rank_asked_for():
    update = two_columns()
    cut, error = cut_of(update, 1)
    sizes = torch.linalg.svdvals(update.materialise(torch.float64))
    assert cut.rank == 1
    assert error == pytest.approx(float(sizes[1] / sizes.norm()))
    same, nothing = cut_of(update, 2)
    assert same is update
    assert nothing is None


def test_a_dense_update_keeps_the_weights_format_when_cut():
    dense = Dense(two_columns().materialise(torch.float64), torch.bfloat16)
    cut, error = cut_of(dense, 2)
    assert cut.dtype == torch.bfloat16
    assert error < 1e-12


def test_a_sum_with_a_dense_update_is_formed_in_float64():
    update = two_columns(torch.bfloat16)
    dense = Dense(torch.ones(5, 7, dtype=torch.float64), torch.bfloat16)
    one, other = Updates({DOWN: update}), Updates({DOWN: dense})
    for total in (one.plus(other)[DOWN], other.plus(one)[DOWN]):
        assert torch.equal(total.materialise(torch.float64), update.materialise(torch.float64) + 1)
