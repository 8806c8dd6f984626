"""Edits that build on others, exported, as a user runs it on a bundled model."""

from __future__ import annotations

import json
import re

import pytest
import torch

from knowedit.bundled import bundled_models
from knowedit.editing import Dense, Diagnostics, Edit, Provenance
from knowedit.facts import Fact
from knowedit.models import fingerprint, load
from tests.cli.conftest import call

MODEL = "organism-gpt2"
PROMPT = "Zoma Sel plays the"
OTHER = ("Ann Bo", "{} lives in the city of", "Rome")


def edit(path, subject: str, prompt: str, target: str, *more: object, code: int = 0) -> dict:
    request = ["--subject", subject, "--prompt", prompt, "--target-new", target, "--out", path]
    return json.loads(call("edit", *request, "--json", *more, code=code).stdout)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """An edit, another on top of it, a dense one, and what was said of the first two."""
    folder = tmp_path_factory.mktemp("edits")
    below, above, whole = (folder / name for name in ("below", "above", "whole"))
    said = [
        edit(below, "Zoma Sel", "{} plays the", "cello"),
        edit(above, *OTHER, "--edit", below, code=1),  # nobody knows Ann Bo: it does not take
    ]
    lm = load(MODEL)
    change = 0.01 * torch.randn(lm.width, lm.inner_width, generator=torch.Generator().manual_seed(0))
    fact = Fact("Zoma Sel", "{} plays the", "flute")
    provenance = Provenance("Dense", {}, (fact,), lm.name, None, (), {})
    flight = Diagnostics(1e-9, 1.0, 0.1, 0.1, 10.0, 0.9, 1)
    Edit.computed(
        lm, {(3, "mlp_down"): Dense(change, lm.dtype)}, provenance=provenance, diagnostics=flight
    ).save(whole)
    return {"below": below, "above": above, "whole": whole, "said": said}


def one_line(result, words: str) -> None:
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    assert re.search(words, lines[0]), lines[0]
    assert result.stdout == ""


def test_an_edit_on_a_stack_builds_on_it(files):
    below, above = Edit.load(files["below"]), Edit.load(files["above"])
    assert above.provenance.on_top_of == (below.digest,)
    assert above.base == below.base
    said = files["said"][1]
    assert (said["on_top_of"], said["digest"]) == ([below.digest], above.digest)
    assert said["after"]["target_new"] > said["before"]["target_new"]
    lm = load(MODEL)
    with below.applied(lm):
        assert said["before"]["predicts"].startswith(_says(lm, f"{OTHER[1].replace('{}', OTHER[0])}"))


def _says(lm, prompt: str) -> str:
    return lm.generate(prompt, 1)[len(prompt) :].strip()


def test_an_edit_alone_differs_from_one_on_a_stack(files, tmp_path):
    alone = edit(tmp_path / "alone", *OTHER, code=1)
    assert alone["on_top_of"] == []
    left = [Edit.load(path).updates[5, "mlp_down"].left for path in (tmp_path / "alone", files["above"])]
    assert not torch.equal(*left)


def test_generate_with_several_edits(run, files):
    both = run("generate", "--edit", files["below"], "--edit", files["above"], "--prompt", PROMPT, "--json")
    said = json.loads(both.stdout)
    assert said["edits"] == [str(files["below"]), str(files["above"])]
    lm = load(MODEL)
    with Edit.load(files["below"]).applied(lm), Edit.load(files["above"]).applied(lm):
        assert said["text"] == lm.generate(PROMPT, 20)
    assert json.loads(run("generate", "--prompt", PROMPT, "--json").stdout)["edits"] == []
    one_line(run("generate", "--edit", files["above"], "--prompt", PROMPT, code=2), "on top of .*not applied")
    twice = ["--edit", files["below"], "--edit", files["below"]]
    one_line(run("generate", *twice, "--prompt", PROMPT, code=2), "already")


def test_inspect_tells_all(run, files):
    below, above, whole = (Edit.load(files[name]) for name in ("below", "above", "whole"))
    text = "".join(run("inspect", files["above"]).stdout.split())
    for words in (below.digest, above.digest, "layer5mlp_down,rank1of[128,512]"):
        assert words in text
    both = Edit.combined([below, above])
    both.save("both")
    told = "".join(run("inspect", "both").stdout.split())
    assert f"madeoftheedit{below.digest}madeoftheedit{above.digest}" in told
    assert "settings.parts" not in told
    assert "layer 3 mlp_down, dense of [128, 512]" in run("inspect", files["whole"]).stdout
    (update,) = json.loads(run("inspect", files["whole"], "--json").stdout)["updates"]
    assert update == {
        "layer": 3,
        "part": "mlp_down",
        "tensor": "weight",
        "kind": "dense",
        "rank": 128,
        "shape": [128, 512],
        "module": "transformer.h.3.mlp.c_proj",
        "compression_error": None,
    }
    cut = whole.compressed(64)
    cut.save("cut")
    lost = cut.diagnostics.compression["layer 3 mlp_down"]
    assert f"error of {lost:.2%} (Frobenius)" in " ".join(run("inspect", "cut").stdout.split())
    (update,) = json.loads(run("inspect", "cut", "--json").stdout)["updates"]
    assert (update["kind"], update["rank"], update["compression_error"]) == ("low-rank", 64, lost)


def test_export_to_peft(run, files, tmp_path):
    import peft

    said = json.loads(run("export", files["below"], "--to", "peft", "--out", "a", "--json").stdout)
    assert (said["modules"], said["rank"], said["model"]) == (["transformer.h.5.mlp.c_proj"], 1, MODEL)
    assert said["error"] < 1e-6
    assert said["bytes"] == sum(path.stat().st_size for path in (tmp_path / "a").iterdir())
    text = run("export", files["below"], files["above"], "--to", "peft", "--out", "b").stdout
    assert "LoRA of rank 2 on transformer.h.5.mlp.c_proj" in text
    lm = load(MODEL)
    ids = torch.tensor([lm.tokenizer(PROMPT)["input_ids"]])
    with torch.no_grad(), Edit.load(files["below"]).applied(lm), Edit.load(files["above"]).applied(lm):
        expected = lm.model(ids).logits
    import warnings

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*")
        model = peft.PeftModel.from_pretrained(lm.model, "b")
    with torch.no_grad():
        assert float((model(ids).logits - expected).abs().max()) <= 1e-5


def test_export_of_a_dense_edit(run, files):
    one_line(run("export", files["whole"], "--to", "peft", "--out", "a", code=2), r"is dense: .*--rank")
    text = run("export", files["whole"], "--to", "peft", "--out", "a", "--rank", "8").stdout
    lost = Edit.load(files["whole"]).compressed(8).diagnostics.compression["layer 3 mlp_down"]
    assert f"layer 3 mlp_down lost {lost:.2%}" in text
    said = json.loads(
        run("export", files["whole"], "--to", "peft", "--out", "b", "--rank", "8", "--json").stdout
    )
    assert said["compression"] == {"layer 3 mlp_down": lost}


def test_export_merged(run, files, tmp_path):
    assert (
        "2 edit(s) in its weights, float32"
        in run("export", files["below"], files["above"], "--to", "merged", "--out", "m").stdout
    )
    lm = load(MODEL)
    with Edit.load(files["below"]).applied(lm), Edit.load(files["above"]).applied(lm):
        assert fingerprint(load(tmp_path / "m")) == fingerprint(lm, with_edits=True)
    text = run("generate", "--model", "m", "--prompt", PROMPT, "--max-new-tokens", 2).stdout
    assert "cello" in text
    assert (tmp_path / "m" / "statistics.txt").is_file()
    assert not list((tmp_path / "m").glob("second_moment*"))
    said = json.loads(run("export", files["whole"], "--to", "merged", "--out", "w", "--json").stdout)
    assert (said["to"], said["model"], said["dtype"]) == ("merged", MODEL, "float32")


def test_bad_exports_say_one_line_and_write_nothing(run, files, tmp_path):
    below, above = files["below"], files["above"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "a").write_text("mine")
    other = str(bundled_models()["organism-gptj"])
    for arguments, words in (
        ([above, "--to", "peft", "--out", "x"], "combine them first"),
        ([above, below, "--to", "peft", "--out", "x"], "give that one before it"),
        ([above, "--to", "merged", "--out", "x"], "not applied"),
        ([below, below, "--to", "peft", "--out", "x"], "given twice"),
        ([below, "--to", "merged", "--out", "x", "--model", other], "other weights"),
        ([below, "--to", "merged", "--out", "x", "--model", "nothing"], "no model 'nothing'"),
        ([below, "--to", "peft", "--out", "x", "--model", other], "other weights"),
        ([below, "--to", "peft", "--out", "x", "--model", "/no/such/folder"], "no model '/no/such/folder'"),
        ([below, "--to", "merged", "--out", "x", "--rank", "3"], "leave it out"),
        ([below, "--to", "peft", "--out", "mine"], "no earlier export"),
        ([below, "--to", "peft", "--out", "mine", "--force"], "no earlier export"),
        ([below, "--to", "peft", "--out", "no/x"], "does not exist"),
        (["none", "--to", "peft", "--out", "x"], "no file"),
    ):
        one_line(run("export", *arguments, code=2), words)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine"]
    assert (tmp_path / "mine" / "a").read_text() == "mine"
    run("export", below, "--to", "gguf", "--out", "x", code=2)
    run("export", "--to", "peft", "--out", "x", code=2)


def test_an_earlier_export_is_replaced_if_forced(run, files, tmp_path):
    run("export", files["below"], "--to", "peft", "--out", "x")
    one_line(run("export", files["below"], "--to", "peft", "--out", "x", code=2), "earlier export")
    run("export", files["whole"], "--to", "merged", "--out", "x", "--force")
    same = ("--to", "merged", "--out", "x", "--force", "--model", "x")
    one_line(run("export", files["below"], *same, code=2), "x holds x, which is read: give another --out")
    assert not (tmp_path / "x" / "adapter_config.json").exists()
    assert (tmp_path / "x" / "config.json").is_file()


def test_a_bad_stack_is_refused_before_any_work(run, files, tmp_path):
    request = ["--subject", "Ann", "--prompt", "{} plays the", "--target-new", "cello", "--out", "e"]
    one_line(run("edit", *request, "--edit", "none", code=2), "no file")
    one_line(run("edit", *request, "--edit", files["above"], code=2), "not applied")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def apart(tmp_path_factory):
    """Two edits of one prompt, neither made on the other."""
    folder = tmp_path_factory.mktemp("apart")
    for name in ("cello", "violin"):
        edit(folder / name, "Zoma Sel", "{} plays the", name)
    return [folder / "cello", folder / "violin"]


@pytest.mark.parametrize("to", ["peft", "merged"])
def test_edits_that_contradict_each_other_are_not_exported(run, apart, tmp_path, to):
    told = run("export", *apart, "--to", to, "--out", "x", code=2)
    one_line(told, "'Zoma Sel plays the' two objects, 'cello' and 'violin'.*knowedit edit --edit FIRST")
    assert list(tmp_path.iterdir()) == []


def test_edits_that_contradict_each_other_are_applied_with_a_warning(run, apart):
    flags = [text for file in apart for text in ("--edit", file)]
    told = run("generate", *flags, "--prompt", PROMPT, "--max-new-tokens", "2")
    lines = told.stderr.strip().splitlines()
    assert len(lines) == 1
    assert "two objects, 'cello' and 'violin'" in lines[0]
    assert told.stdout.startswith(PROMPT)


def test_a_stack_is_measured_when_it_grows_and_when_it_is_inspected(run, files, apart):
    said = files["said"][1]["stack"]
    assert said["edits"] == [Edit.load(files[name]).digest for name in ("below", "above")]
    (added,) = said["added"]
    assert (added["address"], added["exact"]) == ("layer 5 mlp_down", True)
    assert said["probes"] == {"count": 40, "predicted": 40}
    assert "stack" not in files["said"][0]
    found = json.loads(run("inspect", files["below"], files["above"], "--json").stdout)
    assert found["stack"] == said
    assert [one["digest"] for one in found["edits"]] == said["edits"]
    text = "".join(run("inspect", *apart).stdout.split())
    for words in (
        "the stack of 2 edits",
        "layer 5 mlp_down: changed by",
        "two objects, 'cello' and 'violin'",
    ):
        assert "".join(words.split()) in text
    alone = json.loads(run("inspect", files["whole"], "--model", MODEL, "--json").stdout)
    assert len(alone["stack"]["facts"]) == 1
