"""The edit as a value: applied and taken back, saved and loaded, refused where it does not belong."""

from __future__ import annotations

import pytest
import torch

from knowedit.editing import ROME, Edit
from knowedit.errors import BaseMismatchError, FileFormatError, InputError, NumericalError
from tests.conftest import FAMILIES
from tests.editing import oracles
from tests.editing.conftest import FACT, PREFIXES, moment_of


@pytest.fixture(scope="module")
def edits(request) -> dict[str, Edit]:
    rome = ROME.paper(layer=1)
    models = {name: request.getfixturevalue(f"tiny_{name}") for name in FAMILIES}
    return {
        name: rome.edit(lm, [FACT], statistics=moment_of(lm), prefixes=PREFIXES)
        for name, lm in models.items()
    }


@pytest.fixture
def edit(family, edits) -> Edit:
    return edits[family.model.config.model_type]


def state(lm):
    return {name: tensor.clone() for name, tensor in lm.model.state_dict().items()}


def changed(lm, before) -> list[str]:
    after = lm.model.state_dict()
    return [name for name in before if not torch.equal(before[name], after[name])]


def test_applied_adds_exactly_the_update_and_takes_it_back_bit_for_bit(family, edit):
    before, storage = state(family), oracles.down(family, 1).weight.data_ptr()
    expected = oracles.weight(family, 1) + edit.updates[1, "mlp_down"].materialise(torch.float64)
    with edit.applied(family) as lm:
        assert lm is family
        assert len(changed(family, before)) == 1
        assert torch.equal(oracles.weight(family, 1).float(), expected.float())
    assert changed(family, before) == []
    assert oracles.down(family, 1).weight.data_ptr() == storage


def test_subtracting_would_not_restore_the_bits(family, edit):
    """Why the original storage is put back."""
    weight, update = oracles.weight(family, 1).float(), edit.updates[1, "mlp_down"].materialise()
    assert not torch.equal((weight + update) - update, weight)


def test_any_exit_takes_it_back(family, edit):
    before = state(family)
    with pytest.raises(RuntimeError, match="stop"), edit.applied(family):
        raise RuntimeError("stop")
    with pytest.raises(KeyboardInterrupt), edit.applied(family):
        raise KeyboardInterrupt
    assert changed(family, before) == []


def test_parameter_objects_stay_the_same(family, edit):
    parameter = oracles.down(family, 1).weight
    with edit.applied(family):
        assert oracles.down(family, 1).weight is parameter
    assert parameter.requires_grad


def test_save_and_load_change_nothing(family, edit, tmp_path):
    edit.save(tmp_path / "a.safetensors")
    loaded = Edit.load(tmp_path / "a.safetensors")
    for address, update in edit.updates.items():
        assert torch.equal(loaded.updates[address].left, update.left)
        assert torch.equal(loaded.updates[address].right, update.right)
        assert loaded.updates[address].dtype == update.dtype
    assert (loaded.base, loaded.preflight) == (edit.base, edit.preflight)
    assert loaded.provenance == edit.provenance
    loaded.save(tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


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
        oracles.down(lm, 1).weight.data[0, 0] += 1e-3
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


def test_an_edit_on_top_of_another_is_refused(family, edit):
    before = state(family)
    with (
        edit.applied(family),
        pytest.raises(BaseMismatchError, match="without another edit"),
        edit.applied(family),
    ):
        pass
    assert changed(family, before) == []


def test_overflow_is_refused_before_anything_changes(tokenizer, edits):
    from knowedit.models import load
    from tests.conftest import make_model

    lm = load((make_model("gpt2").half(), tokenizer))
    made = ROME.paper(layer=1).edit(lm, [FACT], statistics=moment_of(lm), prefixes=PREFIXES)
    update = made.updates[1, "mlp_down"]
    huge = type(update)(update.left * 1e9, update.right, update.dtype)
    broken = Edit({(1, "mlp_down"): huge}, made.base, made.provenance, made.preflight)
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


def test_concerns_speak_only_of_unsound_edits(edit):
    from dataclasses import replace

    sound = replace(edit.preflight, residual=1e-6, change_on_text=0.02, condition=1e5, probability=0.97)
    assert sound.concerns() == []
    for field, value in (
        ("residual", 0.5),
        ("change_on_text", 3.0),
        ("condition", 1e13),
        ("probability", 0.1),
    ):
        assert len(replace(sound, **{field: value}).concerns()) == 1
