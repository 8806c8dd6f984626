"""The contract of editors: one class and one entry make an editor, and less is enough for one that is passed in."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import torch

import knowedit
from knowedit.editing import (
    EDITORS,
    PROFILES,
    ROME,
    Dense,
    Diagnostics,
    Edit,
    Editor,
    FineTuning,
    Provenance,
    label_of,
    make_editor,
    prepared,
    settings_of,
    version_of,
)
from knowedit.errors import BaseMismatchError, InputError
from knowedit.linalg import FactorisedMoment
from tests.editing.conftest import FACT, PREFIXES, changed, moment_of, state

DATA = Path(__file__).parents[1] / "data" / "v0.1.0"


@dataclass(frozen=True)
class Nudge(Editor):
    """A toy: moves one bias by a constant."""

    layer: int = 1
    size: float = 0.5

    def edit(self, lm, facts, *, generator=None, seed=None):
        slot = lm.projection(self.layer).bias
        update = {
            (self.layer, "mlp_down", "bias"): Dense(torch.full_like(slot.detach(), self.size), lm.dtype)
        }
        sound = Diagnostics(probability=1.0, steps=0)
        return Edit.computed(lm, update, provenance=Provenance.of(self, lm, facts), diagnostics=sound)


class Foreign:
    """Nothing but ``edit``."""

    def edit(self, lm, facts, *, generator=None):
        return Nudge().edit(lm, facts)


def test_a_new_editor_is_one_class_and_one_entry(fresh_lm, tmp_path, monkeypatch):
    monkeypatch.setitem(EDITORS, "nudge", Nudge)
    lm, editor = fresh_lm("gpt2"), make_editor("nudge", size=2.0)
    before = state(lm)
    edit = prepared(editor, lm).edit(lm, [FACT], seed=0)
    edit.save(tmp_path / "e.safetensors")
    found = Edit.load(tmp_path / "e.safetensors")
    assert (found.provenance.editor, found.provenance.settings) == ("Nudge", {"layer": 1, "size": 2.0})
    assert Nudge.from_settings(found.provenance.settings) == editor
    with found.applied(lm):
        assert len(changed(lm, before)) == 1
    assert not changed(lm, before)
    assert (label_of(editor), version_of(editor)) == ("Nudge", 1)
    with pytest.raises(InputError, match="'bound' is no option of nudge, which has layer, size"):
        make_editor("nudge", bound=1.0)
    with pytest.raises(InputError, match="use one of rome, ft, ft\\+l, attn-edit, nudge"):
        make_editor("mend")
    with pytest.raises(InputError, match="nudge has no profiles"):
        make_editor("nudge", profile="paper")


def test_an_object_with_nothing_but_edit_has_the_defaults(fresh_lm):
    lm, editor = fresh_lm("gpt2"), Foreign()
    assert prepared(editor, lm) is editor
    assert (label_of(editor), version_of(editor), settings_of(editor)) == (
        "Foreign",
        1,
        {"editor": "Foreign"},
    )


@dataclass(frozen=True)
class Odd:
    how: object
    sizes: tuple[int, ...] = (1, 2)
    file: Path = field(default=Path("a/b"))


def test_a_dataclass_gives_its_fields_and_refuses_what_json_cannot_hold():
    assert settings_of(Odd(None)) == {"how": None, "sizes": [1, 2], "file": "a/b", "editor": "Odd"}
    with pytest.raises(InputError, match=r"Odd\.how is a Tensor, which JSON cannot hold"):
        settings_of(Odd(torch.zeros(1)))


@pytest.mark.parametrize(
    ("name", "label"), [("rome", "ROME"), ("ft", "FT"), ("ft+l", "FT+L"), ("attn-edit", "AttnEdit")]
)
def test_labels(name, label):
    assert label_of(make_editor(name)) == label
    assert label_of(make_editor(name, layer=3)) == label


def test_a_profile_is_in_the_label_of_rome_whatever_its_layer(family):
    for name in PROFILES["rome"]:
        editor = replace(make_editor("rome", profile=name, layer=1), statistics=moment_of(family))
        expected = "ROME" if name == "paper" else f"ROME ({name})"
        assert label_of(editor) == label_of(prepared(editor, family)) == expected
    assert label_of(make_editor("rome", stop_loss=1.0)) == "ROME"
    assert label_of(FineTuning()) == "FineTuning"


def test_prepared_rome_is_prepared_for_good_and_edits_alike(family):
    rome = ROME(layer=1, statistics=moment_of(family), prefixes=PREFIXES)
    ready = rome.prepared(family)
    assert isinstance(ready.statistics, FactorisedMoment)
    assert ready.prepared(family) == ready
    assert settings_of(ready) == settings_of(rome)
    one, other = rome.edit(family, [FACT]), ready.edit(family, [FACT])
    assert one.digest == other.digest


def test_statistics_may_be_a_file_of_this_layer_and_of_no_other(tmp_path):
    lm = knowedit.load("organism-gpt2")
    file = lm.folder / "second_moment_5.safetensors"
    own, read = ROME().prepared(lm), ROME(statistics=file).prepared(lm)
    assert settings_of(own) == settings_of(read)
    assert settings_of(ROME(statistics=file))["statistics"] == str(file)
    with pytest.raises(BaseMismatchError, match="layer is 5, expected 4"):
        ROME(layer=4, statistics=str(file)).prepared(lm)


def test_settings_are_those_that_version_0_1_0_wrote_into_a_run():
    lm = knowedit.load("organism-gpt2")
    written = json.loads((DATA / "run-rome" / "manifest.json").read_text(encoding="utf-8"))["run"]["settings"]
    assert settings_of(ROME.paper().prepared(lm)) == written
    again = ROME.from_settings(written)
    assert again == ROME.paper(layer=5)
    assert settings_of(again.prepared(lm)) == written


def test_statistics_of_an_unknown_origin_are_named_by_what_they_are(family):
    factor = moment_of(family).factorise()
    named = settings_of(ROME(layer=1, statistics=factor).prepared(family))["statistics"]
    assert named["tokens"] is None
    assert named == settings_of(ROME(layer=1, statistics=factor))["statistics"]
    assert named != settings_of(ROME(layer=1, statistics=moment_of(family)))["statistics"]
