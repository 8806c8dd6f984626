"""Every way to open a model, and what is said when it cannot be."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Gemma2Config, Gemma2ForCausalLM, StableLmConfig, StableLmForCausalLM

import knowedit.models.loading as loading
from knowedit.errors import FileFormatError, InputError
from knowedit.models import FAMILIES as KNOWN
from knowedit.models import check_anatomy, load
from knowedit.models.sources.hub import hub_answers
from tests.conftest import FAMILIES, make_model, make_tokenizer
from tests.models.oracles import full_logits, hook_count

LLAMA = KNOWN["llama"]
IDS = [5, 9, 300, 41]


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")


SIZES = {"num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 32, "intermediate_size": 48}


def stablelm(**fields) -> StableLmForCausalLM:
    """A family that is not known by name, though its parts have Llama's names."""
    sizes = SIZES | {"num_key_value_heads": 2, "vocab_size": 400, "bos_token_id": 0, "eos_token_id": 0}
    return StableLmForCausalLM(StableLmConfig(**sizes, **fields)).eval()


def gemma() -> Gemma2ForCausalLM:
    """Norms after the sublayers and a soft cap on the logits."""
    sizes = SIZES | {"num_key_value_heads": 2, "head_dim": 8, "vocab_size": 400}
    return Gemma2ForCausalLM(Gemma2Config(**sizes, bos_token_id=0, eos_token_id=0)).eval()


def one_line(error: pytest.ExceptionInfo[Exception]) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


def test_folder(tiny_folder: Path, request):
    lm = load(tiny_folder)
    given = request.getfixturevalue(f"tiny_{lm.model.config.model_type}")
    assert torch.equal(full_logits(lm, IDS), full_logits(given, IDS))
    assert lm.tokenizer("São Paulo")["input_ids"] == given.tokenizer("São Paulo")["input_ids"]
    assert (lm.name, lm.folder) == (tiny_folder.name, tiny_folder)
    assert not lm.model.training
    assert (lm.dtype, lm.device) == (torch.float32, torch.device("cpu"))
    assert (lm.n_layers, lm.width, lm.inner_width, lm.vocabulary, lm.max_tokens) == (4, 32, 128, 400, 64)
    assert "4 layers, width 32, inner width 128" in repr(lm)


def test_folder_as_text_and_quietly(tiny_folder: Path, capfd):
    before = torch.get_rng_state()
    load(str(tiny_folder))
    assert capfd.readouterr() == ("", "")
    assert torch.equal(torch.get_rng_state(), before)


def test_bundled_name(tiny_folder: Path, tmp_path: Path, monkeypatch):
    shutil.copytree(tiny_folder, tmp_path / "tiny-bundled")
    monkeypatch.setattr("knowedit.bundled.DATA", tmp_path)
    lm = load("tiny-bundled")
    assert (lm.name, lm.folder) == ("tiny-bundled", tmp_path / "tiny-bundled")


@pytest.mark.parametrize("dtype", [torch.bfloat16, "bfloat16"])
def test_dtype(tiny_folder: Path, dtype):
    lm = load(tiny_folder, dtype=dtype)
    assert {p.dtype for p in lm.model.parameters()} == {torch.bfloat16}


def test_stored_half_precision_opens_as_float32(tmp_path: Path, tokenizer):
    make_model("gpt2").half().save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    assert load(tmp_path).dtype == torch.float32


@pytest.mark.parametrize("family_name", FAMILIES)
def test_a_pair_is_left_as_it_is(family_name, tokenizer):
    model = make_model(family_name)
    for parameter in list(model.parameters())[::2]:
        parameter.requires_grad_(False)
    flags = {name: p.requires_grad for name, p in model.named_parameters()}
    storages = {name: p.data_ptr() for name, p in model.named_parameters()}
    attributes = sorted(model.__dict__)
    lm = load((model, tokenizer))
    lm.logits(["Paris is"])
    lm.generate("Paris is", 3)
    check_anatomy(lm)
    assert lm.model is model
    assert {name: p.requires_grad for name, p in model.named_parameters()} == flags
    assert {name: p.data_ptr() for name, p in model.named_parameters()} == storages
    assert all(p.grad is None for p in model.parameters())
    assert sorted(model.__dict__) == attributes
    assert hook_count(lm) == 0
    assert len(model.get_input_embeddings().weight) == 400  # no pad token was added


def test_training_mode_is_refused_and_kept(tokenizer):
    model = make_model("gpt2").train()
    with pytest.raises(InputError, match=r"call model\.eval\(\) first"):
        load((model, tokenizer))
    assert model.training


@pytest.mark.parametrize("options", [{"dtype": "float16"}, {"device": "cpu"}, {"device_map": "auto"}])
def test_a_pair_is_not_converted(options, tokenizer):
    with pytest.raises(InputError, match="left as it is"):
        load((make_model("gpt2"), tokenizer), **options)


def test_tokenizer_of_another_model():
    with pytest.raises(InputError, match=r"401|5\d\d|tokenizer has"):
        load((make_model("gpt2", vocab_size=300), make_tokenizer()))


def test_tokenizer_can_be_given(tiny_folder: Path, tmp_path: Path):
    tokenizer = make_tokenizer(start=True)
    tokenizer.save_pretrained(tmp_path)
    assert load(tiny_folder, tokenizer=tokenizer).tokenizer is tokenizer
    assert load(tiny_folder, tokenizer=tmp_path).tokenizer("Paris")["input_ids"][0] == 0


def test_slow_tokenizer(tiny_folder: Path):
    with pytest.raises(InputError, match="fast tokenizer"):
        load(tiny_folder, tokenizer=SimpleNamespace(is_fast=False))


@pytest.mark.parametrize(
    "name", ["no-such-model-xyz", "nobody/no-such-model", "a/b/c/d", "./no/folder", "gpt3 xl"]
)
@pytest.mark.usefixtures("no_hub")
def test_unknown_name_is_one_quiet_line(name, capfd, tmp_path, monkeypatch):
    (tmp_path / "organism-a").mkdir()
    (tmp_path / "organism-a" / "config.json").write_text("{}")
    monkeypatch.setattr("knowedit.bundled.DATA", tmp_path)
    with pytest.raises(InputError) as error:
        load(name)
    message = one_line(error)
    for part in (
        repr(name),
        "not one of this package (organism-a)",
        "not a folder",
        "cannot be reached",
        "check the spelling",
    ):
        assert part in message
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("endpoint", "expected"), [("http://127.0.0.1:9", False), ("nonsense", False)])
def test_unreachable_hub(endpoint, expected, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    assert hub_answers() is expected


@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_offline_by_environment_asks_nobody(variable, monkeypatch):
    monkeypatch.setenv(variable, "1")
    monkeypatch.setattr("urllib.request.urlopen", lambda *a, **k: pytest.fail("asked the network"))
    assert hub_answers() is False


def test_answering_hub(tmp_path):
    from http.server import BaseHTTPRequestHandler, HTTPServer
    from threading import Thread

    class Refuse(BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.send_error(404)

        def log_message(self, *args):
            pass

    with HTTPServer(("127.0.0.1", 0), Refuse) as server, pytest.MonkeyPatch.context() as patch:
        thread = Thread(target=server.handle_request)
        thread.start()
        patch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        assert hub_answers() is True
        thread.join()


@pytest.mark.parametrize("name", ["gpt2-xl", "EleutherAI/gpt-j-6B"])
def test_the_papers_models_take_the_same_path(name, monkeypatch):
    kind = "gptj" if "gpt-j" in name else "gpt2"
    model, asked = make_model(kind).train(), []

    def answer(what, result):
        def from_pretrained(place, **options):
            asked.append(
                (what, place, options["revision"], options["local_files_only"], options["trust_remote_code"])
            )
            return result

        return SimpleNamespace(from_pretrained=from_pretrained)

    monkeypatch.setattr("knowedit.models.sources.places.hub_answers", lambda: True)
    monkeypatch.setattr(loading, "AutoConfig", answer("config", model.config))
    monkeypatch.setattr(loading, "AutoTokenizer", answer("tokenizer", make_tokenizer()))
    monkeypatch.setattr(loading, "AutoModelForCausalLM", answer("model", (model, {"missing_keys": set()})))
    lm = load(name, revision="main")
    assert asked == [(what, name, "main", False, False) for what in ("config", "tokenizer", "model")]
    assert (lm.name, lm.folder, lm.model.training) == (name, None, False)


def test_a_family_that_is_not_known_is_found(tmp_path: Path, tokenizer):
    stablelm().save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    lm = load(tmp_path)
    assert lm.anatomy == load(tmp_path, anatomy=LLAMA).anatomy == LLAMA
    assert (lm.n_layers, lm.width, lm.inner_width) == (2, 32, 48)
    assert max(check_anatomy(lm).values()) < 1e-5


def test_wrong_anatomy_is_seen_at_once(tiny_folder: Path):
    kind = json.loads((tiny_folder / "config.json").read_text())["model_type"]
    wrong = KNOWN["gpt2" if KNOWN[kind] == LLAMA else "llama"]
    with pytest.raises(InputError, match=rf"law 1 .*{re.escape(wrong.blocks)}"):
        load(tiny_folder, anatomy=wrong)


@pytest.mark.parametrize("stored", [True, False])
def test_gemma_cannot_be_measured_by_mistake(stored, tmp_path: Path, tokenizer):
    """Every path resolves; the laws are what finds it, without the user asking for them."""
    source = (gemma(), tokenizer)
    if stored:
        source[0].save_pretrained(tmp_path)
        tokenizer.save_pretrained(tmp_path)
        source = tmp_path
    assert load(source).anatomy.mlp == "post_feedforward_layernorm"
    with pytest.raises(InputError, match=r"law 3 .*relative error"):
        load(source, anatomy=LLAMA)


def test_an_anatomy_that_is_given_is_measured_and_a_known_one_is_not(tokenizer, monkeypatch):
    measured = []
    monkeypatch.setattr(loading, "check_anatomy", lambda lm: measured.append(lm.anatomy))
    for name in FAMILIES:
        load((make_model(name), tokenizer))
        load((make_model(name), tokenizer), anatomy=KNOWN[name])
    assert measured == []
    other = replace(LLAMA, mlp_up="mlp.gate_proj")
    load((make_model("llama"), tokenizer), anatomy=other)
    load((stablelm(), tokenizer), anatomy=LLAMA)
    assert measured == [other, LLAMA]


def test_a_model_without_memory_behind_it_is_not_measured(tokenizer):
    with torch.device("meta"):
        model = stablelm()
    with pytest.raises(InputError, match="shapes and no weights"):
        load((model, tokenizer))
    assert load((model, tokenizer), anatomy=LLAMA).device.type == "meta"


@pytest.mark.parametrize("device_map", [{"": "cpu"}, "auto", "cpu", {"": torch.device("cpu")}])
def test_device_map(tiny_folder: Path, device_map, capfd):
    lm, plain = load(tiny_folder, device_map=device_map), load(tiny_folder)
    assert {p.device.type for p in lm.model.parameters()} == {"cpu"}
    assert torch.equal(full_logits(lm, IDS), full_logits(plain, IDS))
    assert not lm.model.training
    assert max(check_anatomy(lm).values()) <= 1e-5
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"device_map": "auto", "device": "cpu"}, "both given"),
        ({"device_map": "nonsense"}, "'nonsense' is not usable here"),
        ({"device_map": {"": "cuda:99"}}, "'cuda:99' is not usable here"),
        ({"device_map": {"": 99}}, "'99' is not usable here"),
    ],
)
def test_bad_device_map(tiny_folder: Path, options, words):
    with pytest.raises(InputError, match=words):
        load(tiny_folder, **options)


def test_parts_that_are_offloaded_are_refused(tmp_path: Path, tokenizer):
    make_model("llama").save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"off every device, the first is lm_head\.weight"):
        load(tmp_path, device_map={"model": "cpu", "lm_head": "disk"})


def test_device_map_without_accelerate(tiny_folder: Path, monkeypatch):
    monkeypatch.setattr(loading, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install accelerate"):
        load(tiny_folder, device_map="auto")
    load(tiny_folder, device="cpu")


def test_folder_without_config(tmp_path: Path):
    with pytest.raises(FileFormatError, match=r"config\.json"):
        load(tmp_path)


def damaged(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "damaged"))


def test_truncated_weights(tiny_folder: Path, tmp_path: Path):
    weights = damaged(tiny_folder, tmp_path) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(FileFormatError) as error:
        load(weights.parent)
    assert "cannot be opened" in one_line(error)


def changed(folder: Path, out: Path, **entries) -> Path:
    """A copy with other entries in its ``config.json``."""
    shutil.copytree(folder, out)
    config = json.loads((out / "config.json").read_text())
    (out / "config.json").write_text(json.dumps(config | entries))
    return out


def test_a_tokenizer_without_a_number_for_its_longest_text_is_refused(tiny_gpt2, tmp_path: Path):
    tiny_gpt2.model.save_pretrained(tmp_path / "a")
    tiny_gpt2.tokenizer.save_pretrained(tmp_path / "a")
    file = tmp_path / "a" / "tokenizer_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "model_max_length": [1024]}))
    with pytest.raises(InputError, match=r"model_max_length \[1024\], expected a number") as error:
        load(tmp_path / "a")
    one_line(error)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"quant_method": "gptq", "bits": 4}, "'gptq'"),
        ({"quant_method": "awq"}, "'awq'"),
        ({"quant_method": "fp8"}, "'fp8'"),
        ({"load_in_8bit": True}, "'bitsandbytes'"),
        ({}, "its config.json has a quantization_config"),
    ],
)
def test_a_quantised_model_is_refused_with_what_can_be_edited(tiny_gpt2, tmp_path: Path, how, words):
    lm = tiny_gpt2
    lm.model.save_pretrained(tmp_path / "a")
    lm.tokenizer.save_pretrained(tmp_path / "a")
    with pytest.raises(InputError, match=rf"b is quantised \({words}\): .*open the checkpoint") as error:
        load(changed(tmp_path / "a", tmp_path / "b", quantization_config=how))
    one_line(error)


def test_a_quantised_model_in_memory_is_refused(tokenizer):
    model = make_model("gpt2")
    model.config.quantization_config = SimpleNamespace(quant_method=SimpleNamespace(value="bitsandbytes"))
    with pytest.raises(InputError, match="is quantised \\('bitsandbytes'\\)"):
        load((model, tokenizer))


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"vocab_size": 10**12}, "says vocab_size 1,000,000,000,000 and .*bytes of weights"),
        ({"n_layer": 10**6}, "says num_hidden_layers 1,000,000"),
        ({"n_embd": 10**8}, "hidden_size 100,000,000"),
        ({"n_positions": 10**9}, "says max_position_embeddings 1,000,000,000"),
        ({"n_layer": 0}, "says num_hidden_layers 0: expected a whole number from 1 on"),
        ({"n_layer": True}, "expected int, got bool"),
        ({"n_layer": 1.5}, "expected int, got float"),
        ({"model_type": ["gpt2"]}, "cannot be opened"),
        ({"quantization_config": 5}, "cannot be opened|is quantised"),
    ],
)
def test_a_configuration_that_cannot_be_is_refused_before_memory_is_taken(
    tiny_gpt2, tmp_path, entries, words
):
    tiny_gpt2.model.save_pretrained(tmp_path / "a")
    tiny_gpt2.tokenizer.save_pretrained(tmp_path / "a")
    with pytest.raises(InputError, match=words) as error:
        load(changed(tmp_path / "a", tmp_path / "b", **entries))
    one_line(error)


class Trap:
    def __reduce__(self):
        return (pytest.fail, ("the file ran code",))


def test_weights_in_a_pickle_are_tensors_or_refused(tiny_gpt2, tmp_path: Path):
    tiny_gpt2.model.save_pretrained(tmp_path)
    tiny_gpt2.tokenizer.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors").unlink()
    torch.save(tensors, tmp_path / "pytorch_model.bin")
    assert torch.equal(full_logits(load(tmp_path), IDS), full_logits(tiny_gpt2, IDS))
    torch.save(tensors | {"trap": Trap()}, tmp_path / "pytorch_model.bin")
    with pytest.raises(
        FileFormatError, match=r"pickle \(pytorch_model.bin\) .*get model.safetensors"
    ) as error:
        load(tmp_path)
    one_line(error)
    (tmp_path / "pytorch_model.bin").rename(tmp_path / "consolidated.00.pth")
    words = "has its weights only as consolidated.00.pth: expected model.safetensors"
    with pytest.raises(FileFormatError, match=words):
        load(tmp_path)


def test_missing_weights_file(tiny_folder: Path, tmp_path: Path):
    folder = damaged(tiny_folder, tmp_path)
    (folder / "model.safetensors").unlink()
    with pytest.raises(FileFormatError) as error:
        load(folder)
    one_line(error)


def test_one_missing_tensor_is_not_made_up(tiny_folder: Path, tmp_path: Path, capfd):
    weights = damaged(tiny_folder, tmp_path) / "model.safetensors"
    tensors = {name: tensor.clone() for name, tensor in load_file(weights).items()}
    name = next(name for name in sorted(tensors) if ".2.mlp." in name and name.endswith("weight"))
    del tensors[name]
    save_file(tensors, weights, metadata={"format": "pt"})
    with pytest.raises(FileFormatError, match=name.replace(".", r"\.")):
        load(weights.parent)
    assert capfd.readouterr() == ("", "")


def test_folder_without_tokenizer(tiny_folder: Path, tmp_path: Path):
    folder = damaged(tiny_folder, tmp_path)
    for path in folder.glob("tokenizer*"):
        path.unlink()
    with pytest.raises(FileFormatError, match="no tokenizer"):
        load(folder)


def test_unreadable_config(tiny_folder: Path, tmp_path: Path):
    folder = damaged(tiny_folder, tmp_path)
    (folder / "config.json").write_text("{")
    with pytest.raises(FileFormatError) as error:
        load(folder)
    one_line(error)
    (folder / "config.json").write_text(json.dumps({"model_type": "nothing-like-it"}))
    with pytest.raises(FileFormatError) as error:
        load(folder)
    one_line(error)


@pytest.mark.parametrize("dtype", ["float", "int64", torch.int8, "nonsense", 3])
def test_bad_dtype(tiny_folder: Path, dtype):
    if dtype == "float":
        assert load(tiny_folder, dtype=dtype).dtype == torch.float32
        return
    with pytest.raises(InputError, match="floating point format"):
        load(tiny_folder, dtype=dtype)


@pytest.mark.parametrize("device", ["nonsense", "cuda:99"])
def test_bad_device(tiny_folder: Path, device):
    with pytest.raises(InputError, match="not usable here"):
        load(tiny_folder, device=device)


@pytest.mark.parametrize("pair", [(1, 2), (1,), ()])
def test_bad_pair(pair):
    with pytest.raises(InputError, match="pair"):
        load(pair)
