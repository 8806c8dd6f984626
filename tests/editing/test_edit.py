"""The edit as a value: applied and taken back, saved and loaded, refused where it does not belong."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from transformers.pytorch_utils import Conv1D

from knowedit.editing import ROME, Address, Edit
from knowedit.editing.edits import content
from knowedit.errors import BaseMismatchError, FileFormatError, InputError, NumericalError
from knowedit.linalg import LowRank
from tests.editing.conftest import FACT, PREFIXES, bias, changed, dense, moment_of, plain_edit, state


@pytest.fixture(scope="module")
def edits(tiny_gpt2, tiny_gptj) -> dict[str, Edit]:
    return {
        lm.model.config.model_type: ROME(layer=1, statistics=moment_of(lm), prefixes=PREFIXES).edit(
            lm, [FACT]
        )
        for lm in (tiny_gpt2, tiny_gptj)
    }


@pytest.fixture(scope="module")
def edit(family) -> Edit:
    return ROME(layer=1, statistics=moment_of(family), prefixes=PREFIXES).edit(family, [FACT])


def down(lm):
    return lm.model.get_submodule(lm.anatomy.path("mlp_down", 1))


def weight(lm) -> torch.Tensor:
    """(d_out, d_in) in float64, by the type of the layer."""
    stored = down(lm).weight.detach().double()
    return stored.T if isinstance(down(lm), Conv1D) else stored


def test_applied_adds_exactly_the_update_and_takes_it_back_bit_for_bit(family, edit):
    before, storage = state(family), down(family).weight.data_ptr()
    expected = weight(family) + edit.updates[1, "mlp_down"].materialise(torch.float64)
    with edit.applied(family) as lm:
        assert lm is family
        assert len(changed(family, before)) == 1
        assert torch.equal(weight(family).float(), expected.float())
    assert changed(family, before) == []
    assert down(family).weight.data_ptr() == storage


def test_subtracting_would_not_restore_the_bits(family, edit):
    """Why the original storage is put back."""
    before, update = weight(family).float(), edit.updates[1, "mlp_down"].materialise()
    assert not torch.equal((before + update) - update, before)


def test_any_exit_takes_it_back(family, edit):
    before = state(family)
    with pytest.raises(RuntimeError, match="stop"), edit.applied(family):
        raise RuntimeError("stop")
    with pytest.raises(KeyboardInterrupt), edit.applied(family):
        raise KeyboardInterrupt
    assert changed(family, before) == []


def test_parameter_objects_stay_the_same(family, edit):
    parameter = down(family).weight
    with edit.applied(family):
        assert down(family).weight is parameter
    assert parameter.requires_grad


def bits(update):
    return [update.left, update.right] if isinstance(update, LowRank) else [update.matrix]


def mixed(lm, edit) -> Edit:
    """Low-rank, dense and bias in one."""
    updates = {
        (1, "mlp_down"): edit.updates[1, "mlp_down"],
        (2, "mlp_up"): dense(lm, 2, "mlp_up"),
        **bias(lm, 1, "mlp_down"),
    }
    return plain_edit(lm, updates)


@pytest.mark.parametrize("kind", ["rome", "mixed"])
def test_save_and_load_change_nothing(family, edit, tmp_path, kind):
    edit = edit if kind == "rome" else mixed(family, edit)
    edit.save(tmp_path / "a.safetensors")
    loaded = Edit.load(tmp_path / "a.safetensors")
    assert list(loaded.updates) == list(edit.updates)
    for address, update in edit.updates.items():
        found = loaded.updates[address]
        assert (type(found), found.dtype, found.shape) == (type(update), update.dtype, update.shape)
        for one, other in zip(bits(found), bits(update), strict=True):
            assert one.dtype == other.dtype
            assert torch.equal(one, other)
    assert (loaded.base, loaded.diagnostics, loaded.places) == (edit.base, edit.diagnostics, edit.places)
    assert loaded.provenance == edit.provenance
    loaded.save(tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_the_digest_is_that_of_the_file(family, edit, tmp_path):
    made = mixed(family, edit)
    made.save(tmp_path / "e")
    with safe_open(tmp_path / "e", framework="np") as file:
        assert json.loads(file.metadata()["knowedit"])["knowedit.sha256"] == made.digest
    assert Edit.load(tmp_path / "e").digest == made.digest
    fewer = replace(made, updates={(2, "mlp_up"): made.updates[2, "mlp_up"]})
    above = replace(made, provenance=replace(made.provenance, on_top_of=("a",)))
    assert len({e.digest for e in (edit, made, fewer, above)}) == 4


def test_the_file_says_where_the_base_keeps_its_tensors(family, edit):
    module, place = down(family), edit.places[Address(1, "mlp_down")]
    assert family.model.get_submodule(place.module) is module
    assert place.transposed == isinstance(module, Conv1D)


def test_files_of_the_first_schema_are_refused_with_what_to_do(edit, tmp_path):
    path = tmp_path / "e"
    edit.save(path)
    path.write_bytes(path.read_bytes().replace(rb"\"knowedit.schema\":\"2\"", rb"\"knowedit.schema\":\"1\""))
    with pytest.raises(FileFormatError, match="has schema '1'; expected '2'"):
        Edit.load(path)


@pytest.mark.parametrize("place", ["updates", "provenance", "preflight"])
def test_wrong_entries_are_refused(edit, tmp_path, monkeypatch, place):
    described = content._metadata(edit)
    needed = {"updates": "dtype", "provenance": "model", "preflight": "steps"}[place]
    spoilt = described | {place: described[place].replace(needed, "nothing")}
    monkeypatch.setattr(content, "_metadata", lambda _edit: spoilt)
    edit.save(tmp_path / "e")
    with pytest.raises(FileFormatError, match="missing or wrong entries"):
        Edit.load(tmp_path / "e")


def test_loaded_edit_gives_the_same_bits(family, edit, tmp_path):
    edit.save(tmp_path / "e.safetensors")
    with edit.applied(family):
        direct = state(family)
    with Edit.load(tmp_path / "e.safetensors").applied(family):
        assert changed(family, direct) == []


@pytest.mark.parametrize("check", ["all", "edited"])
def test_another_base_is_refused_with_the_tensor_that_differs(fresh_lm, edits, check):
    for family, edit in edits.items():
        lm = fresh_lm(family)
        with edit.applied(lm, check=check):
            pass
        name = f"{lm.projection(1).path}.weight"
        down(lm).weight.data[0, 0] += 1e-3
        before = state(lm)
        with pytest.raises(BaseMismatchError, match=name.replace(".", r"\.")), edit.applied(lm, check=check):
            pass
        assert changed(lm, before) == []


def test_a_change_elsewhere_is_seen_by_the_full_check_alone(fresh_lm, edits):
    lm = fresh_lm("gpt2")
    lm.module("embedding").weight.data[3, 3] += 1.0
    with edits["gpt2"].applied(lm, check="edited"):
        pass
    with pytest.raises(BaseMismatchError, match="wte"), edits["gpt2"].applied(lm):
        pass


def test_an_edit_of_another_family_is_refused(tiny_gpt2, edits):
    with pytest.raises(BaseMismatchError), edits["gptj"].applied(tiny_gpt2):
        pass


def test_overflow_is_refused_before_anything_changes(tokenizer, edits):
    from knowedit.models import load
    from tests.conftest import make_model

    lm = load((make_model("gpt2").half(), tokenizer))
    made = ROME(layer=1, statistics=moment_of(lm), prefixes=PREFIXES).edit(lm, [FACT])
    update = made.updates[1, "mlp_down"]
    huge = type(update)(update.left * 1e9, update.right, update.dtype)
    broken = Edit({(1, "mlp_down"): huge}, made.base, made.provenance, made.diagnostics)
    before = state(lm)
    with pytest.raises(NumericalError), broken.applied(lm):
        pass
    assert changed(lm, before) == []


@pytest.mark.parametrize("cut", [0, 7, 100, -1])
def test_truncated_files_are_refused(edit, tmp_path, cut):
    path = tmp_path / "e.safetensors"
    edit.save(path)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(FileFormatError, match=r"e\.safetensors"):
        Edit.load(path)


def test_any_altered_byte_is_refused(tiny_gpt2, edits, tmp_path):
    path = tmp_path / "e.safetensors"
    edits["gpt2"].save(path)
    data = path.read_bytes()
    size = 8 + int.from_bytes(data[:8], "little")
    places = [9, size // 3, size // 2, size - 40, size + 3, (size + len(data)) // 2, len(data) - 1]
    for place in places:
        bad = bytearray(data)
        bad[place] ^= 1
        path.write_bytes(bytes(bad))
        with pytest.raises(FileFormatError):
            Edit.load(path)


def test_other_files_are_refused(tmp_path):
    with pytest.raises(InputError, match="no file"):
        Edit.load(tmp_path / "nothing")
    moment_path = tmp_path / "moment.safetensors"
    keys = torch.randn(10, 3, generator=torch.Generator().manual_seed(0))
    from knowedit.linalg import SecondMoment

    SecondMoment.zeros(3, like=keys).update(keys).save(moment_path)
    with pytest.raises(FileFormatError, match="not a saved edit"):
        Edit.load(moment_path)


def test_a_failed_save_leaves_the_old_file(edit, tmp_path):
    path = tmp_path / "e.safetensors"
    edit.save(path)
    before = path.read_bytes()
    with pytest.raises(InputError, match="does not exist"):
        edit.save(tmp_path / "missing" / "e.safetensors")
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["e.safetensors"]


def test_warnings_speak_only_of_unsound_edits(edit):
    sound = replace(edit.diagnostics, residual=1e-6, change_on_text=0.02, condition=1e5, probability=0.97)
    assert sound.warnings() == []
    for field, value in (
        ("residual", 0.5),
        ("change_on_text", 3.0),
        ("condition", 1e13),
        ("probability", 0.1),
    ):
        assert len(replace(sound, **{field: value}).warnings()) == 1
    assert replace(sound, compression={"layer 1 mlp_down": 1e-9}).warnings() == []
    (text,) = replace(sound, compression={"layer 1 mlp_down": 0.2, "layer 2 mlp_down": 0.0}).warnings()
    assert "20.0%" in text


@pytest.mark.parametrize(("changed", "more"), [(1, ""), (3, ""), (4, " and 1 more"), (6, " and 3 more")])
def test_at_most_three_of_the_tensors_that_differ_are_named(fresh_lm, changed, more):
    lm = fresh_lm("gpt2")
    edit = plain_edit(lm, {(1, "mlp_down"): dense(lm, 1, "mlp_down")})
    names = sorted(name for name, _ in lm.model.named_parameters())[:changed]
    for name in names:
        lm.model.get_parameter(name).data += 1
    with pytest.raises(BaseMismatchError) as caught:
        edit.check_base(lm)
    assert f"has: {', '.join(names[:3])}{more} differ; load the model it was made for" in str(caught.value)
    assert "for, in the same number format" in str(caught.value)


def test_the_place_of_an_update_is_that_of_its_part(family):
    edit = plain_edit(family, {(1, "mlp_up"): dense(family, 1, "mlp_up")})
    assert [place.module for place in edit.places.values()] == [family.projection(1, "mlp_up").path]


def test_an_edit_is_one_line_and_a_small_table(edit):
    shown = repr(edit)
    assert "\n" not in shown
    assert len(shown) < 200
    for part in ("ROME", "'Miles Davis plays the' -> 'piano'", "layer 1 mlp_down rank 1", "norm "):
        assert part in shown
    both = Edit.combined([edit, plain_edit_on(edit)])
    assert " and 1 more" in repr(both)
    unsound = replace(edit, diagnostics=replace(edit.diagnostics, alignment=0.1))
    table = replace(
        unsound, provenance=replace(edit.provenance, facts=(replace(FACT, target_new="<b>"),))
    )._repr_html_()
    assert table.startswith("<table>")
    assert "&lt;b&gt;" in table
    assert "cosine of only 0.10" in table


def plain_edit_on(edit: Edit) -> Edit:
    """Another edit of the same base."""
    return replace(edit, provenance=replace(edit.provenance, seed=7))


def test_a_handle_says_whether_it_is_applied(fresh_lm):
    lm = fresh_lm("gpt2")
    handle = plain_edit(lm, {(1, "mlp_down"): dense(lm, 1, "mlp_down")}).apply(lm)
    assert repr(handle).endswith("applied)")
    handle.remove()
    assert repr(handle).endswith("removed)")
