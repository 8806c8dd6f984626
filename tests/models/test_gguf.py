"""Models in GGUF files: what opens, with which weights, and one line for what does not."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

import knowedit.models.sources.gguf as gguf_source
from knowedit.errors import FileFormatError, InputError, KnoweditError
from knowedit.models import FAMILIES, LanguageModel, check_anatomy, fingerprint, load
from tests.conftest import make_model
from tests.models.gguf_files import write_gguf
from tests.models.oracles import full_logits

gguf = pytest.importorskip("gguf", reason="the package gguf is not installed")
pytest.importorskip("accelerate", reason="the package accelerate is not installed")

IDS = [5, 9, 300, 41]
TEXTS = ("São Paulo is a city", "The Eiffel Tower, in Paris.", "Miles Davis plays")


@pytest.fixture(scope="session")
def tiny_gguf(tiny_llama: LanguageModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny Llama in float32; shared, so leave it as it is."""
    return write_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf", tiny_llama.model, tiny_llama.tokenizer)


def refusal(source: object, **options: object) -> str:
    with pytest.raises(KnoweditError) as error:
        load(source, **options)  # type: ignore[arg-type]
    assert "\n" not in str(error.value)
    return f"{type(error.value).__name__}: {error.value}"


def test_the_weights_and_the_tokenizer_of_a_file(tiny_gguf: Path, tiny_llama: LanguageModel, capfd):
    lm = load(tiny_gguf)
    assert capfd.readouterr() == ("", "")
    assert fingerprint(lm).tensors == fingerprint(tiny_llama).tensors
    assert torch.equal(full_logits(lm, IDS), full_logits(tiny_llama, IDS))
    for text in TEXTS:
        assert lm.tokenizer(text)["input_ids"] == tiny_llama.tokenizer(text)["input_ids"]
        assert lm.tokenizer.decode(lm.tokenizer(text)["input_ids"]) == text
    assert (lm.name, lm.folder, lm.dtype) == ("tiny.gguf", None, torch.float32)
    assert not lm.model.training
    assert max(check_anatomy(lm).values()) < 1e-5


def test_a_folder_with_one(tiny_gguf: Path, tiny_llama: LanguageModel, tmp_path: Path):
    folder = tmp_path / "a model"
    folder.mkdir()
    shutil.copy(tiny_gguf, folder / "anything.GGUF")
    (folder / "config.json").write_text("{}")  # repositories of GGUF files often have one
    lm = load(folder)
    assert fingerprint(lm) == fingerprint(tiny_llama)
    assert (lm.name, lm.folder) == ("a model", folder)


def test_beside_safetensors_a_file_is_not_looked_at(tiny_gguf: Path, tmp_path: Path, tokenizer):
    other = make_model("llama", seed=5)
    other.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    shutil.copy(tiny_gguf, tmp_path)
    assert fingerprint(load(tmp_path)) == fingerprint(load((other, tokenizer)))


def test_packed_weights_are_unpacked(tiny_llama: LanguageModel, tmp_path: Path):
    path = write_gguf(tmp_path / "q.gguf", tiny_llama.model, tiny_llama.tokenizer, quantised="Q8_0")
    lm = load(path)
    weight = lm.projection(2).weight
    own = tiny_llama.projection(2).weight.detach().numpy()
    kind = gguf.GGMLQuantizationType.Q8_0
    expected = gguf.quants.dequantize(gguf.quants.quantize(own, kind), kind)
    assert torch.equal(weight, torch.from_numpy(expected))
    assert fingerprint(lm) != fingerprint(tiny_llama)
    lm.model.save_pretrained(tmp_path / "saved")
    lm.tokenizer.save_pretrained(tmp_path / "saved")
    assert fingerprint(load(tmp_path / "saved")) == fingerprint(lm)  # as for any model in memory


def test_dtype_and_another_tokenizer(tiny_gguf: Path, tokenizer, tmp_path: Path):
    tokenizer.save_pretrained(tmp_path)
    lm = load(tiny_gguf, dtype="bfloat16", tokenizer=tmp_path)
    assert {p.dtype for p in lm.model.parameters()} == {torch.bfloat16}
    assert lm.tokenizer(TEXTS[0])["input_ids"] == tokenizer(TEXTS[0])["input_ids"]
    assert load(tiny_gguf, anatomy=FAMILIES["llama"], tokenizer=tokenizer).tokenizer is tokenizer


def test_what_is_changed_while_a_file_is_read_is_put_back(tiny_gguf: Path, tmp_path: Path):
    import transformers.modeling_gguf_pytorch_utils as reader

    before = gguf.GGUFReader, gguf.get_tensor_name_map, reader.tqdm
    load(tiny_gguf)
    refusal(cut(tiny_gguf, tmp_path, 3000))
    assert (gguf.GGUFReader, gguf.get_tensor_name_map, reader.tqdm) == before


def test_a_file_is_parsed_once(tiny_gguf: Path, monkeypatch: pytest.MonkeyPatch):
    parsed: list[str] = []
    usual = gguf.GGUFReader

    def counted(path: str) -> object:
        parsed.append(path)
        return usual(path)

    monkeypatch.setattr(gguf, "GGUFReader", counted)
    load(tiny_gguf)
    assert parsed == [str(tiny_gguf)]


def cut(path: Path, tmp_path: Path, size: int) -> Path:
    other = tmp_path / f"cut-{size}.gguf"
    other.write_bytes(path.read_bytes()[:size])
    return other


@pytest.mark.parametrize("share", [0.0003, 0.002, 0.02, 0.1, 0.5, 0.9, 0.9999])
def test_a_cut_file(tiny_gguf: Path, tmp_path: Path, share: float):
    size = int(share * tiny_gguf.stat().st_size)
    message = refusal(cut(tiny_gguf, tmp_path, size))
    assert message.startswith("FileFormatError: the GGUF file ")
    assert message.endswith("it is cut short or damaged, get it again")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "begins with b''"),
        (b"version https://git-lfs", "begins with b'vers', expected b'GGUF'"),
        (b"GGUF", "cut short or damaged"),
        (b"GGUF" + 200 * b"\xff", "cut short or damaged"),
    ],
)
def test_no_gguf_file(content: bytes, words: str, tmp_path: Path):
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    assert words in refusal(path)
    assert words in refusal(tmp_path)


def test_other_files(tmp_path: Path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"\x10\0\0\0")
    assert "is no GGUF file" in refusal(path)
    assert refusal(tmp_path / "none.gguf").startswith("InputError: there is no file")


def test_two_in_a_folder(tiny_gguf: Path, tmp_path: Path):
    for name in ("b.gguf", "a.gguf"):
        shutil.copy(tiny_gguf, tmp_path / name)
    message = refusal(tmp_path)
    assert "holds 2 GGUF files (a.gguf, b.gguf): give the path of the one to open" in message
    load(tmp_path / "b.gguf")


@pytest.mark.parametrize(
    ("lacking", "words"),
    [
        (("gguf",), "needs the package gguf: run 'pip install gguf'"),
        (("accelerate",), "run 'pip install accelerate'"),
        (("gguf", "accelerate"), "gguf and accelerate: run 'pip install gguf accelerate'"),
    ],
)
def test_without_a_package(lacking, words, tiny_gguf: Path, monkeypatch: pytest.MonkeyPatch):
    usual = gguf_source.find_spec
    monkeypatch.setattr(gguf_source, "find_spec", lambda name: None if name in lacking else usual(name))
    message = refusal(tiny_gguf)
    assert message.startswith("InputError: ")
    assert words in message


@pytest.mark.parametrize("architecture", ["rwkv7", "no-such-thing"])
def test_an_architecture_that_is_not_read(architecture, tiny_llama: LanguageModel, tmp_path: Path):
    path = write_gguf(tmp_path / "m.gguf", tiny_llama.model, tiny_llama.tokenizer, architecture=architecture)
    message = refusal(path)
    assert message.startswith("InputError: ")
    assert f"architecture {architecture!r}, which transformers" in message
    assert message.endswith("give a folder with its safetensors")


def test_a_tensor_that_is_missing(tiny_llama: LanguageModel, tmp_path: Path):
    name = "model.layers.2.mlp.down_proj.weight"
    path = write_gguf(tmp_path / "m.gguf", tiny_llama.model, tiny_llama.tokenizer, without=(name,))
    assert f"lacks 1 tensors, the first is {name}" in refusal(path)


def test_a_file_without_a_tokenizer(tiny_llama: LanguageModel, tmp_path: Path):
    path = write_gguf(tmp_path / "m.gguf", tiny_llama.model, None)
    assert refusal(path).endswith("give one as tokenizer=")
    lm = load(path, tokenizer=tiny_llama.tokenizer)
    assert fingerprint(lm) == fingerprint(tiny_llama)


def test_bytes_of_the_header_that_are_not_as_written(tiny_gguf: Path, tmp_path: Path):
    """Whatever a byte becomes, a model is opened or one line says why not."""
    content = tiny_gguf.read_bytes()
    path = tmp_path / "model.gguf"
    opened = 0
    for at in (*range(4, 60, 5), *range(60, 700, 41), *range(700, 9000, 997)):
        path.write_bytes(content[:at] + bytes([content[at] ^ 0x55]) + content[at + 1 :])
        try:
            load(path)
            opened += 1
        except (InputError, FileFormatError) as error:
            assert "\n" not in str(error)  # noqa: PT017
    assert opened > 0
