"""What an edit becomes for others: an adapter that peft loads, and a plain model folder."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from pathlib import Path

import peft
import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

import knowedit.editing.edits.export as export
from knowedit.editing import ROME, Address, Edit, Place, applied_edits
from knowedit.errors import InputError, NumericalError
from knowedit.linalg import LowRank
from knowedit.models import fingerprint, load
from knowedit.writing import folders
from tests.conftest import make_model
from tests.editing.conftest import (
    FACT,
    PREFIXES,
    bias,
    changed,
    dense,
    low_rank,
    moment_of,
    plain_edit,
    state,
    storages,
)

IDS = torch.tensor([[5, 9, 300, 41, 7, 77]])
DOWN = Address(1, "mlp_down")


def make_llama(**fields):
    sizes = {"num_hidden_layers": 3, "num_attention_heads": 4, "hidden_size": 32, "intermediate_size": 48}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=400, **(sizes | fields)))
    draw = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        centre = 1.0 if "norm" in name else 0.0
        parameter.data.copy_(centre + 0.25 * torch.randn(parameter.shape, generator=draw))
    return model.eval()


SHAPES = {
    "gpt2": lambda: make_model("gpt2"),
    "gptj": lambda: make_model("gptj"),
    "llama": make_llama,
    "llama, tied": lambda: make_llama(tie_word_embeddings=True),
}


@pytest.fixture(params=SHAPES)
def lm(request, tokenizer):
    """A model of each shape; fresh, because peft changes it."""
    model = SHAPES[request.param]()
    return load((model, tokenizer))


@torch.no_grad()
def logits(model) -> torch.Tensor:
    return model(IDS, use_cache=False).logits


def edited_logits(lm, *edits) -> torch.Tensor:
    handles = [edit.apply(lm) for edit in edits]
    found = logits(lm.model)
    for handle in handles:
        handle.remove()
    return found


def with_adapter(model, folder):
    """As a user loads it. peft trips a deprecation of transformers, which is none of ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*")
        return peft.PeftModel.from_pretrained(model, folder)


def edits_of(lm) -> dict[str, Edit]:
    """What goes into an adapter: one fact, a higher rank elsewhere, several of unlike ranks, two on one layer."""
    first = lm.anatomy.projection_parts[0]
    one = plain_edit(lm, {DOWN: low_rank(lm, 1, "mlp_down", seed=1)}, "piano")
    wide = plain_edit(lm, {(2, first): low_rank(lm, 2, first, rank=4, seed=2)}, "cello")
    again = plain_edit(lm, {DOWN: low_rank(lm, 1, "mlp_down", rank=2, seed=3)}, "flute")
    return {
        "one": one,
        "wide": wide,
        "unlike ranks": Edit.combined([one, wide]),
        "two on one layer": Edit.combined([one, again]),
        "all": Edit.combined([one, wide, again]),
    }


KINDS = ("one", "wide", "unlike ranks", "two on one layer", "all")


@pytest.mark.parametrize("kind", KINDS)
def test_the_adapter_does_what_the_edit_does(lm, tmp_path, kind):
    edit = edits_of(lm)[kind]
    edit.save(tmp_path / "e")
    written = Edit.load(tmp_path / "e").to_peft(tmp_path / "adapter")  # all it needs is in the file
    base, expected = logits(lm.model), edited_logits(lm, edit)
    assert float((expected - base).abs().max()) > 0.1
    model = with_adapter(lm.model, tmp_path / "adapter")
    assert float((logits(model) - expected).abs().max()) <= 1e-5
    with model.disable_adapter():
        assert torch.equal(logits(model), base)
    assert float((logits(model.merge_and_unload()) - expected).abs().max()) <= 1e-5
    assert written.error < 1e-6
    assert written.rank == {"one": 1, "wide": 4, "unlike ranks": 4, "two on one layer": 3, "all": 4}[kind]


def test_the_sum_of_two_edits_is_that_of_the_stack(lm, tmp_path):
    edits = [plain_edit(lm, {DOWN: low_rank(lm, 1, "mlp_down", seed=s)}, str(s)) for s in (1, 2)]
    with edits[0].applied(lm):
        edits.append(plain_edit(lm, {DOWN: low_rank(lm, 1, "mlp_down", seed=3)}, "3"))
    expected = edited_logits(lm, *edits)
    Edit.combined(edits).to_peft(tmp_path / "adapter")
    model = with_adapter(lm.model, tmp_path / "adapter")
    assert float((logits(model) - expected).abs().max()) <= 1e-5


def test_a_real_edit_survives(tmp_path, tokenizer):
    lm = load((make_model("gpt2"), tokenizer))
    edit = ROME(layer=1, statistics=moment_of(lm), prefixes=PREFIXES).edit(lm, [FACT])
    expected = edited_logits(lm, edit)
    edit.to_peft(tmp_path / "adapter")
    model = with_adapter(lm.model, tmp_path / "adapter")
    assert float((logits(model) - expected).abs().max()) <= 1e-5


def test_the_layout_is_that_of_peft(lm, tmp_path):
    edit = edits_of(lm)["unlike ranks"]
    written = edit.to_peft(tmp_path / "adapter", lm, base_model="somebody/model")
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    modules = sorted(place.module for place in edit.places.values())
    assert config["target_modules"] == modules == list(written.modules)
    assert all(lm.model.get_submodule(module) is not None for module in modules)
    assert (config["peft_type"], config["task_type"], config["bias"]) == ("LORA", "CAUSAL_LM", "none")
    assert config["r"] == config["lora_alpha"] == 4
    assert "rank_pattern" not in config
    assert config["fan_in_fan_out"] == (lm.model.config.model_type == "gpt2")
    assert config["base_model_name_or_path"] == "somebody/model"
    with safe_open(tmp_path / "adapter" / "adapter_model.safetensors", framework="np") as file:
        shapes = {
            name: (file.get_tensor(name).shape, file.get_tensor(name).dtype) for name in list(file.keys())
        }
    expected = {}
    for address, place in edit.places.items():
        d_out, d_in = edit.updates[address].shape
        expected[f"base_model.model.{place.module}.lora_A.weight"] = ((4, d_in), "float32")
        expected[f"base_model.model.{place.module}.lora_B.weight"] = ((d_out, 4), "float32")
    assert shapes == expected
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter"]


def test_the_config_is_one_that_peft_writes(lm, tmp_path):
    """Every field is known to peft, with the meaning that it has there."""
    edits_of(lm)["one"].to_peft(tmp_path / "adapter")
    written = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    read = peft.LoraConfig.from_pretrained(tmp_path / "adapter")
    for name, value in written.items():
        found = getattr(read, name)
        assert (sorted(found) if isinstance(found, set) else found) == value, name
    assert read.inference_mode


def test_the_same_edit_gives_the_same_bytes(lm, tmp_path):
    edit = edits_of(lm)["all"]
    for name in ("a", "b"):
        edit.to_peft(tmp_path / name)
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert len(files) == 4
    assert all((tmp_path / "a" / f).read_bytes() == (tmp_path / "b" / f).read_bytes() for f in files)


def test_the_scale_is_shared_by_both_factors():
    """A huge left side and a tiny right one would not survive half precision."""
    draw = torch.Generator().manual_seed(0)
    left, right = torch.randn(8, 2, generator=draw), torch.randn(6, 2, generator=draw)
    update = LowRank(left.double() * 1e12, right.double() * 1e-12, torch.float32)
    b, a = export.balanced(update)
    assert (b.shape, a.shape, b.dtype, a.dtype) == ((8, 2), (2, 6), torch.float32, torch.float32)
    torch.testing.assert_close(b.norm(dim=0), a.norm(dim=1))
    assert float(max(b.abs().max(), a.abs().max())) < 100
    torch.testing.assert_close(
        b.half().double() @ a.half().double(), update.materialise(torch.float64), rtol=0, atol=1e-2
    )


def test_cancelling_parts_lose_no_accuracy():
    """Two huge columns that nearly cancel: as float32 factors column by column they would leave noise."""
    draw = torch.Generator().manual_seed(0)
    huge, small, right = (torch.randn(n, 1, generator=draw).double() for n in (8, 8, 6))
    update = LowRank(
        torch.cat([1e6 * huge, -1e6 * huge + small], 1), torch.cat([right, right], 1), torch.float32
    )
    b, a = export.balanced(update)
    torch.testing.assert_close(b.double() @ a.double(), small @ right.T, rtol=1e-5, atol=1e-6)


def test_a_rank_above_the_size_is_no_trap():
    many = LowRank(
        torch.randn(3, 7, dtype=torch.float64), torch.randn(4, 7, dtype=torch.float64), torch.float32
    )
    b, a = export.balanced(many)
    torch.testing.assert_close((b @ a).double(), many.materialise(torch.float64), rtol=1e-5, atol=1e-5)
    zero, ones = LowRank(torch.zeros(3, 1), torch.zeros(4, 1), torch.float32), torch.ones(3, 1).double()
    assert not export.balanced(zero)[0].any()
    for large in (1e100, 1e200):
        with pytest.raises(NumericalError, match="too large for float32"):
            export.balanced(LowRank(ones * large, ones * large, torch.float64))


def test_dense_edits_need_a_rank(lm, tmp_path):
    edit = plain_edit(lm, {DOWN: dense(lm, 1, "mlp_down")})
    with pytest.raises(InputError, match=r"layer 1 mlp_down is dense: .*compressed\(rank\).*merged"):
        edit.to_peft(tmp_path / "adapter")
    small = edit.compressed(5)
    expected = edited_logits(lm, small)
    small.to_peft(tmp_path / "adapter")
    assert float((logits(with_adapter(lm.model, tmp_path / "adapter")) - expected).abs().max()) <= 1e-5


def test_what_no_adapter_can_hold_is_refused(lm, tmp_path):
    edit = edits_of(lm)["unlike ranks"]
    with edit.applied(lm):
        above = plain_edit(lm, {DOWN: low_rank(lm, 1, "mlp_down")}, "harp")
    mixed = dict(edit.places) | {DOWN: Place(edit.places[DOWN].module, not edit.places[DOWN].transposed)}
    cases = [
        (above, f"on top of {edit.digest[:12]}.*combine"),
        (replace(edit, places={}), r"Edit\.computed"),
        (replace(edit, places=mixed), "one fan_in_fan_out"),
    ]
    if offset := bias(lm, 1, "mlp_down"):
        cases.append((plain_edit(lm, offset), "changes the bias of layer 1 mlp_down.*merged"))
    for refused, words in cases:
        with pytest.raises(InputError, match=words):
            refused.to_peft(tmp_path / "adapter")
    assert list(tmp_path.iterdir()) == []


# Merged


def opened_in(lm, dtype, folder):
    """The model as it is loaded in a format: `model.to` would round Llama's rotary table too, loading does not."""
    lm.model.to(dtype).save_pretrained(folder)
    lm.tokenizer.save_pretrained(folder)
    return load(folder, dtype=dtype, anatomy=lm.anatomy)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_merged_folder_is_bit_equal_to_the_applied_edit(lm, tmp_path, dtype, capfd):
    lm = opened_in(lm, dtype, tmp_path / "base")
    updates = {DOWN: low_rank(lm, 1, "mlp_down"), (0, "mlp_up"): dense(lm, 0, "mlp_up")}
    edit = plain_edit(lm, updates | bias(lm, 1, "mlp_down"))
    before, pointers = state(lm), storages(lm)
    capfd.readouterr()
    edit.merged(lm, tmp_path / "m")
    assert capfd.readouterr() == ("", "")
    assert (changed(lm, before), storages(lm), applied_edits(lm)) == ([], pointers, ())
    opened = load(tmp_path / "m", dtype=dtype, anatomy=lm.anatomy)
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "m", dtype="auto").eval()
    assert plain.dtype == dtype
    with edit.applied(lm):
        expected = logits(lm.model)
        assert fingerprint(opened) == fingerprint(lm, with_edits=True)
    assert torch.equal(logits(opened.model), expected)
    assert torch.equal(logits(plain), expected)
    assert not torch.equal(logits(lm.model), expected)
    assert opened.tokenizer("São Paulo")["input_ids"] == lm.tokenizer("São Paulo")["input_ids"]
    tied = lm.model.config.tie_word_embeddings
    assert (plain.lm_head.weight is plain.get_input_embeddings().weight) == tied


def test_the_merged_folder_says_what_is_in_it(fresh_lm, tmp_path):
    lm = fresh_lm("gpt2")
    below, edit = (plain_edit(lm, {DOWN: low_rank(lm, 1, "mlp_down", seed=s)}, str(s)) for s in (1, 2))
    with below.applied(lm):
        edit.merged(lm, tmp_path / "m")
    note = json.loads((tmp_path / "m" / "knowedit_export.json").read_text())
    assert (note["what"], note["base"]) == ("model", fingerprint(lm).digest)
    assert [entry["digest"] for entry in note["edits"]] == [below.digest, edit.digest]
    told = note["edits"][1]["facts"]
    assert [{k: v for k, v in fact.items() if v is not None} for fact in told] == [
        {"subject": "2", "prompt": "{} plays the", "target_new": "2"}
    ]
    opened = load(tmp_path / "m")
    with below.applied(lm), edit.applied(lm):
        edit.merged(lm, tmp_path / "again")
        assert fingerprint(load(tmp_path / "again")) == fingerprint(opened)
        assert len(applied_edits(lm)) == 2
        assert fingerprint(opened) == fingerprint(lm, with_edits=True)


def test_notes_that_stay_true_are_kept_and_others_not(tiny_folder, tmp_path):
    """The statistics of the base are of other weights; the text to gather new ones from is as good as it was."""
    base = tmp_path / "base"
    base.mkdir()
    lm = load(tiny_folder)
    lm.model.save_pretrained(base)
    lm.tokenizer.save_pretrained(base)
    known = {"edit_layer": 1, "recall": {"trained": 1.0}, "statistics_text": "t.txt"}
    (base / "knowedit.json").write_text(json.dumps(known))
    (base / "t.txt").write_text("Paris is a city in Brazil.")
    (base / "second_moment_1.safetensors").write_bytes(b"")
    lm = load(base)
    plain_edit(lm, {DOWN: low_rank(lm, 1, "mlp_down")}).merged(lm, tmp_path / "m")
    names = {path.name for path in (tmp_path / "m").iterdir()}
    assert {"knowedit.json", "t.txt", "knowedit_export.json", "config.json"} <= names
    assert "second_moment_1.safetensors" not in names
    kept = json.loads((tmp_path / "m" / "knowedit.json").read_text())
    assert kept == {"edit_layer": 1, "statistics_text": "t.txt"}
    assert ROME(statistics=moment_of(lm)).prepared(load(tmp_path / "m")).layer == 1


# Folders


@pytest.fixture
def one(tiny_gpt2) -> Edit:
    return plain_edit(tiny_gpt2, {DOWN: low_rank(tiny_gpt2, 1, "mlp_down")})


@pytest.fixture(params=["peft", "merged"])
def write(request, one, tiny_gpt2):
    if request.param == "peft":
        return lambda folder, **options: one.to_peft(folder, **options)
    return lambda folder, **options: one.merged(tiny_gpt2, folder, **options)


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_is_new_or_empty_or_an_earlier_export_and_forced(write, tmp_path):
    target = tmp_path / "out"
    target.mkdir()
    write(target)
    found = names(target)
    (target / "old").write_text("")
    with pytest.raises(InputError, match="holds an earlier export: give another folder, or --force"):
        write(target)
    assert names(target) == sorted([*found, "old"])
    with pytest.raises(InputError, match="also holds old, which is no part of it: move it away"):
        write(target, force=True)
    (target / "old").unlink()
    write(target, force=True)
    assert names(target) == found
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize("force", [False, True])
def test_other_things_are_never_replaced(write, tmp_path, force):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    (tmp_path / "file").write_text("mine")
    for target, words in (
        ("mine", "is no earlier export"),
        ("file", "is no earlier export"),
        ("no/out", "does not exist"),
    ):
        with pytest.raises(InputError, match=words):
            write(tmp_path / target, force=force)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"
    assert names(tmp_path) == ["file", "mine"]


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("error", [RuntimeError("disk full"), KeyboardInterrupt()])
def test_nothing_half_written_is_left(write, tmp_path, monkeypatch, tiny_gpt2, error, force):
    target = tmp_path / "out"
    if force:
        write(target)
    before = {path.name: path.read_bytes() for path in target.iterdir()} if force else None
    weights = state(tiny_gpt2)

    def failing(*_arguments):
        raise error

    monkeypatch.setattr(export, "_note", failing)  # the last thing that is written
    with pytest.raises(type(error)):
        write(target, force=force)
    assert names(tmp_path) == (["out"] if force else [])
    if force:
        assert {path.name: path.read_bytes() for path in target.iterdir()} == before
    assert (changed(tiny_gpt2, weights), applied_edits(tiny_gpt2)) == ([], ())


def test_the_current_folder_and_one_that_cannot_be_written(write, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    write(".")
    assert "knowedit_export.json" in names(tmp_path / "here")
    monkeypatch.chdir(tmp_path)

    def denied(*_arguments, **_options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(folders, "_put", denied)
    with pytest.raises(InputError, match=r"x cannot be written \(Permission denied\): make room, or give"):
        write(tmp_path / "x")
    assert names(tmp_path) == ["here"]


@pytest.mark.parametrize("error", [OSError(28, "No space left"), KeyboardInterrupt()])
def test_an_earlier_export_stays_if_the_new_one_cannot_take_its_place(write, tmp_path, monkeypatch, error):
    target = tmp_path / "out"
    write(target)
    before = {path.name: path.read_bytes() for path in target.iterdir()}
    rename = Path.rename

    def failing(path, where):
        if path.name.endswith(".tmp"):
            raise error
        return rename(path, where)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(InputError if isinstance(error, OSError) else KeyboardInterrupt):
        write(target, force=True)
    assert names(tmp_path) == ["out"]
    assert {path.name: path.read_bytes() for path in target.iterdir()} == before


def test_a_refused_edit_writes_no_model(one, fresh_lm, tmp_path):
    with pytest.raises(InputError, match="other weights"):
        one.merged(fresh_lm("gpt2", seed=4), tmp_path / "m")
    assert names(tmp_path) == []


def test_a_model_that_was_written_to_is_not_merged(fresh_lm, tmp_path):
    lm = fresh_lm("gpt2")
    edit = plain_edit(lm, {DOWN: low_rank(lm, 1, "mlp_down")})
    edit.apply(lm)
    with torch.no_grad():
        lm.projection(1).parameter.add_(1.0)
    with pytest.raises(InputError):
        edit.merged(lm, tmp_path / "m")
    assert not (tmp_path / "m").exists()
