"""Edits stacked on one model and removed in any order, compared with weights rebuilt from a copy."""

from __future__ import annotations

import copy
import random
from dataclasses import replace

import pytest
import torch
from transformers.pytorch_utils import Conv1D

from knowedit.editing import Dense, Edit, applied_edits, without_outcome
from knowedit.errors import BaseMismatchError, InputError, NumericalError
from knowedit.linalg import LowRank
from knowedit.models import fingerprint, load
from tests.conftest import make_model
from tests.editing.conftest import bias, changed, dense, low_rank, plain_edit, state, storages

SEQUENCES = 1000
TINY = 2**-12


def six_edits(lm) -> list[Edit]:
    """Low-rank, dense and bias updates at overlapping addresses; some so small that rounding decides."""
    first, *_, down = lm.anatomy.projection_parts
    small = low_rank(lm, 1, down, seed=3)
    ups = [
        {(1, down): low_rank(lm, 1, down, seed=1)},
        {(1, down): low_rank(lm, 1, down, rank=3, seed=2), (2, first): low_rank(lm, 2, first, seed=2)},
        {(1, down): LowRank(small.left * TINY, small.right, lm.dtype)},
        {(1, down): dense(lm, 1, down, seed=4)},
        {(2, first): dense(lm, 2, first, seed=5), (0, "mlp_up"): low_rank(lm, 0, "mlp_up", seed=5)},
        {(0, "mlp_up"): low_rank(lm, 0, "mlp_up", rank=2, seed=6)},
    ]
    ups[0] |= bias(lm, 1, down, seed=7)
    ups[5] |= bias(lm, 1, down, seed=8)
    return [plain_edit(lm, update) for update in ups]


class Oracle:
    """Slow and obvious: a copy of all weights, and the sum of whole matrices in float64."""

    def __init__(self, lm) -> None:
        self.lm, self.pristine, self.pointers = lm, state(lm), storages(lm)
        self.parameters = dict(lm.model.named_parameters())

    def delta(self, address, update) -> tuple[str, torch.Tensor]:
        path = self.lm.anatomy.path(address.part, address.layer)
        full = update.materialise(torch.float64)
        turned = isinstance(self.lm.model.get_submodule(path), Conv1D) and full.ndim == 2
        return f"{path}.{address.tensor}", full.T if turned else full

    def expected(self, deltas) -> dict[str, torch.Tensor]:
        totals: dict[str, torch.Tensor] = {}
        for name, delta in deltas:
            totals[name] = totals.get(name, self.pristine[name].double()) + delta
        return {name: total.to(self.pristine[name].dtype) for name, total in totals.items()}

    def check(self, deltas, names) -> None:
        expected = self.expected(deltas)
        for name in names:
            assert torch.equal(self.parameters[name], expected.get(name, self.pristine[name])), name
            if name not in expected:
                assert self.parameters[name].data_ptr() == self.pointers[name]


def random_sequences(lm, count: int, seed: int) -> int:
    """Play ``count`` random sequences; after every step the weights are those of the oracle."""
    oracle, edits, rng = Oracle(lm), six_edits(lm), random.Random(seed)
    deltas = [[oracle.delta(*pair) for pair in edit.updates.items()] for edit in edits]
    names = {name for pairs in deltas for name, _ in pairs}
    steps = 0
    for _ in range(count):
        applied: dict[int, object] = {}
        for _ in range(rng.randint(2, 6)):
            i = rng.randrange(len(edits))
            if i in applied:
                applied.pop(i).remove()
            else:
                applied[i] = edits[i].apply(lm, check="edited")
            oracle.check([pair for j in applied for pair in deltas[j]], names)
            steps += 1
        assert [handle.edit for handle in applied_edits(lm)] == [edits[j] for j in applied]
        for i in rng.sample(sorted(applied), len(applied)):
            applied.pop(i).remove()
            oracle.check([pair for j in applied for pair in deltas[j]], names)
    assert changed(lm, oracle.pristine) == []
    assert storages(lm) == oracle.pointers
    assert all(found is oracle.parameters[name] for name, found in lm.model.named_parameters())
    assert [name for name in lm.model.__dict__ if "knowedit" in name] == []
    return steps


def test_random_sequences_are_bit_equal_to_never_having_applied(family):
    assert random_sequences(family, SEQUENCES, seed=0) > 3 * SEQUENCES


def test_random_sequences_in_bfloat16(tokenizer):
    lm = load((make_model("gpt2").to(torch.bfloat16), tokenizer))
    assert random_sequences(lm, SEQUENCES, seed=1) > 3 * SEQUENCES


def rounded_after_each(weight, deltas):
    for delta in deltas:
        weight = (weight.double() + delta).to(weight.dtype)
    return weight


def test_the_sequences_can_tell_the_wrong_ways(family):
    """Subtracting, and rounding after each edit, give other bits than the rule."""
    oracle, edits = Oracle(family), six_edits(family)
    deltas = [oracle.delta(*next(iter(edit.updates.items()))) for edit in edits[:4]]
    name = deltas[0][0]
    weight, changes = oracle.pristine[name], [delta for _, delta in deltas]
    right = oracle.expected(deltas)[name]
    assert not torch.equal(rounded_after_each(weight, changes), right)
    taken_out = rounded_after_each(rounded_after_each(weight, changes), [-changes[0]])
    assert not torch.equal(taken_out, oracle.expected(deltas[1:])[name])


@pytest.fixture
def pair(family) -> tuple[Edit, Edit]:
    """Two edits of one weight."""
    return tuple(
        plain_edit(family, {(1, "mlp_down"): low_rank(family, 1, "mlp_down", seed=s)}) for s in (1, 2)
    )


def test_an_edit_for_the_base_goes_on_top_of_others(family, pair):
    base, before = fingerprint(family), state(family)
    with pair[0].apply(family), pair[1].apply(family):
        assert fingerprint(family) == base
        assert fingerprint(family, with_edits=True) != base
        pair[0].check_base(family)
        assert len(changed(family, before)) == 1
    assert fingerprint(family, with_edits=True) == base
    assert changed(family, before) == []


def test_any_exit_takes_it_back_and_leaves_the_others(family, pair):
    before = state(family)
    with pair[0].applied(family):
        one = state(family)
        for error in (RuntimeError("stop"), KeyboardInterrupt()):
            with pytest.raises(type(error)), pair[1].apply(family):
                raise error
            assert changed(family, one) == []
    assert changed(family, before) == []


def test_a_handle_can_be_removed_inside_its_with(family, pair):
    before = state(family)
    with pair[0].apply(family) as handle:
        assert (handle.edit, handle.active) == (pair[0], True)
        handle.remove()
        assert changed(family, before) == []
        assert not handle.active


def test_removing_twice_is_refused(family, pair):
    handle = pair[0].apply(family)
    with pair[1].applied(family):
        both = state(family)
        handle.remove()
        one = state(family)
        with pytest.raises(InputError, match=f"{pair[0].digest[:12]} is not applied .* removed already"):
            handle.remove()
        assert changed(family, one) == []
        assert changed(family, both) != []


def test_the_same_edit_twice_is_refused_however_it_was_read(family, pair, tmp_path):
    pair[0].save(tmp_path / "e")
    with pair[0].applied(family):
        before = state(family)
        for again in (pair[0], Edit.load(tmp_path / "e"), Edit.combined(pair)):
            with pytest.raises(InputError, match=r"is applied to .* already"):
                again.apply(family)
        assert changed(family, before) == []
    with Edit.combined(pair).applied(family), pytest.raises(InputError, match="already"):
        pair[1].apply(family)


def test_an_edit_computed_on_top_of_others_says_so_and_needs_them(family, pair):
    with pair[0].applied(family):
        above = plain_edit(family, {(2, "mlp_down"): low_rank(family, 2, "mlp_down")}, "cello")
        assert above.provenance.on_top_of == (pair[0].digest,)
        assert above.base == pair[0].base
        with above.applied(family):
            topmost = plain_edit(family, {(2, "mlp_down"): low_rank(family, 2, "mlp_down")}, "flute")
            assert topmost.provenance.on_top_of == (pair[0].digest, above.digest)
    before = state(family)
    for edit, others, missing in (
        (above, [], pair[0]),
        (above, [pair[1]], pair[0]),
        (topmost, [pair[0]], above),
    ):
        handles = [other.apply(family) for other in others]
        with pytest.raises(InputError, match=f"on top of {missing.digest[:12]}, not applied") as error:
            edit.apply(family)
        assert "knowedit inspect" in str(error.value)
        for handle in handles:
            handle.remove()
    assert changed(family, before) == []
    with pair[1].applied(family), pair[0].applied(family), above.applied(family):
        pass
    with Edit.combined(pair).applied(family), above.applied(family):
        pass


def test_removing_what_another_edit_was_made_on_is_allowed_and_exact(family, pair):
    oracle = Oracle(family)
    below = pair[0].apply(family)
    above = plain_edit(family, {(1, "mlp_down"): low_rank(family, 1, "mlp_down", seed=9)})
    handle = above.apply(family)
    below.remove()
    deltas = [oracle.delta(*item) for item in above.updates.items()]
    oracle.check(deltas, [deltas[0][0]])
    handle.remove()
    oracle.check([], [deltas[0][0]])


def half_model(tokenizer):
    return load((make_model("gpt2").half(), tokenizer))


def scaled(update: LowRank, factor: float) -> LowRank:
    return LowRank(update.left * factor, update.right, update.dtype)


def test_overflow_in_apply_changes_nothing(tokenizer):
    lm = half_model(tokenizer)
    update, other = low_rank(lm, 1, "mlp_down"), low_rank(lm, 2, "mlp_down")
    with without_outcome():  # such a model has no finite logits, so no outcome
        huge = plain_edit(lm, {(2, "mlp_down"): other, (1, "mlp_down"): scaled(update, 1e5)})
        small = plain_edit(lm, {(1, "mlp_down"): scaled(update, 0.1)}, "small")
    before, pointers = state(lm), storages(lm)
    with pytest.raises(NumericalError, match=r"h\.1\.mlp\.c_proj\.weight .* float16"):
        huge.apply(lm)
    assert (changed(lm, before), storages(lm), applied_edits(lm)) == ([], pointers, ())
    handle = small.apply(lm)
    one, stand_ins = state(lm), storages(lm)
    with pytest.raises(NumericalError, match="remove another edit first"):
        huge.apply(lm)
    assert (changed(lm, one), storages(lm)) == ([], stand_ins)
    handle.remove()
    assert (changed(lm, before), storages(lm)) == ([], pointers)


def test_overflow_of_what_is_left_refuses_the_removal(tokenizer):
    """Large and opposite: the second fits only while the first is there."""
    lm = half_model(tokenizer)
    update, other = low_rank(lm, 1, "mlp_down"), low_rank(lm, 2, "mlp_down")
    limit = 65504 / float(update.materialise(torch.float64).abs().max())
    with without_outcome():  # see above
        minus = plain_edit(lm, {(2, "mlp_down"): other, (1, "mlp_down"): scaled(update, -0.9 * limit)})
        plus = plain_edit(lm, {(1, "mlp_down"): scaled(update, 1.5 * limit)}, "plus")
    before, pointers = state(lm), storages(lm)
    first = minus.apply(lm)
    second = plus.apply(lm)
    both, stand_ins = state(lm), storages(lm)
    with pytest.raises(NumericalError, match="remove another edit first"):
        first.remove()
    assert (changed(lm, both), storages(lm), first.active) == ([], stand_ins, True)
    second.remove()
    first.remove()
    assert (changed(lm, before), storages(lm)) == ([], pointers)


@pytest.mark.parametrize(
    "change",
    [
        lambda model, _: model.double(),
        lambda model, _: model.to(torch.bfloat16).float(),
        lambda _, module: setattr(module, "weight", torch.nn.Parameter(module.weight.detach().clone())),
        lambda model, _: model.load_state_dict(state_of_another()),
        lambda _, module: module.weight.requires_grad_(False).mul_(2),
    ],
    ids=["converted", "converted and back", "another parameter", "other weights loaded", "written to"],
)
def test_a_model_changed_in_between_is_refused(fresh_lm, change):
    lm = fresh_lm("gpt2")
    edits = [plain_edit(lm, {(1, "mlp_down"): low_rank(lm, 1, "mlp_down", seed=s)}) for s in (1, 2)]
    handle = edits[0].apply(lm)
    change(lm.model, lm.projection(1).module)
    before = state(lm)
    for action in (handle.remove, lambda: edits[1].apply(lm, check="edited"), lambda: fingerprint(lm)):
        with pytest.raises(InputError, match=r"h\.1\.mlp\.c_proj\.weight was moved, converted, replaced or"):
            action()
    assert changed(lm, before) == []
    assert handle.active


def state_of_another():
    return make_model("gpt2", seed=5).state_dict()


def test_changes_elsewhere_are_none_of_its_business(fresh_lm):
    lm = fresh_lm("gpt2")
    edit = plain_edit(lm, {(1, "mlp_down"): low_rank(lm, 1, "mlp_down")})
    pointer = lm.projection(1).parameter.data_ptr()
    with edit.applied(lm):
        lm.projection(2).parameter.data += 1
        lm.model.float()
        lm.model.requires_grad_(False)
        lm.model.share_memory()
    assert lm.projection(1).parameter.data_ptr() == pointer


def test_two_wrappers_of_one_model_agree(fresh_lm, tokenizer):
    one = fresh_lm("gpt2")
    two = load((one.model, tokenizer))
    edits = [plain_edit(one, {(1, "mlp_down"): low_rank(one, 1, "mlp_down", seed=s)}) for s in (1, 2)]
    before, pointers = state(one), storages(one)
    first = edits[0].apply(one)
    second = edits[1].apply(two)
    assert [handle.edit for handle in applied_edits(two)] == edits
    first.remove()
    applied_edits(one)[0].remove()
    assert not second.active
    assert (changed(two, before), storages(two)) == ([], pointers)


def test_a_copy_of_an_edited_model_is_a_model_with_those_weights(fresh_lm):
    lm = fresh_lm("gptj")
    edit = plain_edit(lm, {(1, "mlp_down"): low_rank(lm, 1, "mlp_down")})
    before = state(lm)
    handle = edit.apply(lm)
    twin = copy.deepcopy(lm)
    assert applied_edits(twin) == ()
    assert fingerprint(twin) == fingerprint(lm, with_edits=True)
    with pytest.raises(BaseMismatchError):
        edit.apply(twin)
    kept = state(twin)
    handle.remove()
    assert changed(lm, before) == []
    assert changed(twin, kept) == []
    made = plain_edit(twin, {(1, "mlp_down"): low_rank(twin, 1, "mlp_down", seed=4)})
    with made.applied(twin):
        assert made.provenance.on_top_of == ()
    assert changed(twin, kept) == []


def test_inference_mode_is_no_trap(fresh_lm):
    lm = fresh_lm("gpt2")
    edit = plain_edit(lm, {(1, "mlp_down"): low_rank(lm, 1, "mlp_down")})
    with torch.inference_mode():
        handle = edit.apply(lm)
    assert not lm.projection(1).parameter.is_inference()
    lm.model(torch.tensor([[1, 2]])).logits.sum().backward()
    lm.model.zero_grad()
    handle.remove()


def test_no_gradient_flows_into_an_edit(fresh_lm):
    lm = fresh_lm("gpt2")
    with plain_edit(lm, {(1, "mlp_down"): low_rank(lm, 1, "mlp_down")}).applied(lm):
        parameter = lm.projection(1).parameter
        assert parameter.is_leaf
        assert parameter.requires_grad
        assert parameter.grad_fn is None


def test_an_address_the_model_lacks_is_refused(fresh_lm):
    lm = fresh_lm("gptj")
    part = lm.anatomy.projection_parts[0]
    with pytest.raises(InputError, match="layers go from 0 to 3"):
        plain_edit(lm, {(9, "mlp_down"): low_rank(lm, 1, "mlp_down")})
    edit = plain_edit(lm, {(1, part): low_rank(lm, 1, part)})
    size = lm.projection(1, part).d_out
    for updates, words in (
        ({(1, part, "bias"): Dense(torch.ones(size), lm.dtype)}, "has no bias"),
        ({(1, part): low_rank(lm, 1, "mlp_down")}, r"has shape \(32, 128\)"),
        ({(1, "mlp_down", "bias"): Dense(torch.ones(7), lm.dtype)}, r"has shape \(7,\)"),
    ):
        before = state(lm)
        with pytest.raises(InputError, match=words):
            replace(edit, updates=updates).apply(lm)
        assert (changed(lm, before), applied_edits(lm)) == ([], ())


def test_the_compressed_form_of_an_applied_edit_is_the_same_edit(family):
    whole = plain_edit(family, {(1, "mlp_down"): dense(family, 1, "mlp_down")})
    cut = whole.compressed(1)
    assert cut.provenance.compressed_from == whole.digest
    with whole.applied(family), pytest.raises(InputError, match="already"):
        cut.apply(family)
    with pytest.raises(InputError):
        Edit.combined([whole, cut])
    with whole.applied(family):
        above = plain_edit(family, {(2, "mlp_down"): low_rank(family, 2, "mlp_down")})
    with cut.applied(family), above.applied(family):
        assert len(applied_edits(family)) == 2
