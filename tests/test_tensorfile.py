from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from knowedit.errors import FileFormatError, InputError
from knowedit.tensorfile import Kind, read_tensors, write_tensors
from knowedit.writing import write_bytes
from tests.fuzz.mutators import resealed

OLD = Path(__file__).parent / "data" / "v0.1.0"
KIND = Kind("thing", "3", "thing", "Thing.save")
TENSORS = {
    "b": np.arange(6, dtype=np.float32).reshape(2, 3),
    "a": np.array([1.5, -0.0]),
    "n": np.array([[7]], dtype=np.int64),
}


@pytest.fixture
def path(tmp_path):
    target = tmp_path / "t.safetensors"
    write_tensors(target, KIND, TENSORS, {"note": "grün"}, own={"count": "4"})
    return target


def test_round_trip_and_any_other_reader(path):
    content = read_tensors(path, KIND)
    assert content.metadata == {"note": "grün"}
    assert content.own["count"] == "4"
    for name, array in TENSORS.items():
        for found in (content.tensors[name], load_file(path)[name]):
            assert found.dtype == array.dtype
            assert np.array_equal(found, array)


def test_same_content_same_bytes(path, tmp_path):
    again = tmp_path / "again"
    write_tensors(again, KIND, dict(reversed(TENSORS.items())), {"note": "grün"}, own={"count": "4"})
    assert again.read_bytes() == path.read_bytes()


SCRIPT = """
import sys
import numpy as np
from knowedit.tensorfile import Kind, write_tensors

metadata = {f"note {n}": str(n) for n in range(50)}
kind = Kind("thing", "3", "thing", "x")
write_tensors(sys.argv[1], kind, {"b": np.ones(2), "a": np.ones(3)}, metadata, own={"n": "4"})
"""


def test_same_bytes_whatever_the_seed_of_hashes(tmp_path):
    """With 50 entries, an order that is drawn would be another in every process."""
    for seed in ("0", "1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": seed}
        subprocess.run([sys.executable, "-c", SCRIPT, str(tmp_path / seed)], env=environment, check=True)
    first, *others = (path.read_bytes() for path in sorted(tmp_path.iterdir()))
    assert others == [first, first]


def test_one_entry_holds_what_the_file_says_about_itself(path):
    with safe_open(path, framework="np") as container:
        (name,) = container.metadata()
        found = json.loads(container.metadata()[name])
    assert name == "knowedit"
    assert found["note"] == "grün"
    assert found["knowedit.count"] == "4"
    assert len(found["knowedit.sha256"]) == 64


def test_anyone_may_read_what_was_written(path):
    (path.parent / "plain").write_bytes(b"")
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE((path.parent / "plain").stat().st_mode)


@pytest.mark.parametrize("path", sorted(OLD.rglob("*.safetensors")), ids=lambda path: path.stem)
def test_files_of_version_0_1_0_are_read(path):
    """Every item was an entry of the container then."""
    with safe_open(path, framework="np") as container:
        stored = container.metadata()
    content = read_tensors(path, Kind(stored["knowedit.kind"], stored["knowedit.schema"], "thing", "x"))
    del stored["knowedit.sha256"]
    assert len(stored) > 1
    assert {f"knowedit.{key}": value for key, value in content.own.items()} | content.metadata == stored


def test_the_digest_is_that_of_version_0_1_0(tmp_path):
    """A file written again has the digest that it had, so that what is on record stays true."""
    kind = Kind("second_moment", "1", "moment", "x")
    content = read_tensors(OLD / "moment.safetensors", kind)
    own = {key: value for key, value in content.own.items() if key not in ("kind", "schema")}
    write_tensors(tmp_path / "new", kind, content.tensors, content.metadata, own=own)
    with (
        safe_open(OLD / "moment.safetensors", framework="np") as old,
        safe_open(tmp_path / "new", framework="np") as new,
    ):
        entries = json.loads(new.metadata()["knowedit"])
        assert entries == old.metadata()


@pytest.mark.parametrize("text", ["", "[]", "{", "1", '{"a": 1}', "[" * 100_000])
def test_an_entry_that_says_nothing_is_refused(tmp_path, text):
    save_file(TENSORS, tmp_path / "t", metadata={"knowedit": text})
    with pytest.raises(FileFormatError, match="not a saved thing"):
        read_tensors(tmp_path / "t", KIND)


def test_the_same_entries_written_otherwise_are_an_altered_file(path):
    with safe_open(path, framework="np") as container:
        text = container.metadata()["knowedit"]
    save_file(TENSORS, path, metadata={"knowedit": text.replace(",", ", ")})
    with pytest.raises(FileFormatError):
        read_tensors(path, KIND)


def test_text_that_is_no_unicode(tmp_path):
    write_tensors(tmp_path / "t", KIND, {"a": np.ones(3)}, {"note": "half a pair \ud800"})
    assert read_tensors(tmp_path / "t", KIND).metadata == {"note": "half a pair \ud800"}


@pytest.mark.parametrize("array", [np.empty((0, 3)), np.empty(0), np.ones(2, np.float16), np.ones(2, bool)])
def test_tensors_without_numbers_are_neither_written_nor_read(tmp_path, array):
    with pytest.raises(InputError, match="expected one that is not empty, of int64, float64, float32"):
        write_tensors(tmp_path / "t", KIND, {"a": array}, {})
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "t").write_bytes(resealed(KIND, {"a": array}, {}, {}))
    with pytest.raises(FileFormatError, match=r"has the tensor 'a' of .* and shape"):
        read_tensors(tmp_path / "t", KIND)


def test_every_altered_byte_is_seen(path):
    data = path.read_bytes()
    for place in range(len(data)):
        bad = bytearray(data)
        bad[place] ^= 4
        path.write_bytes(bytes(bad))
        with pytest.raises(FileFormatError):
            read_tensors(path, KIND)


def test_every_truncation_is_seen(path):
    data = path.read_bytes()
    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(FileFormatError):
            read_tensors(path, KIND)


@pytest.mark.parametrize("other", [Kind("other", "3", "other", "x"), Kind("thing", "4", "thing", "x")])
def test_other_kinds_and_schemas_are_refused(path, other):
    with pytest.raises(FileFormatError):
        read_tensors(path, other)


def test_reserved_and_wrong_metadata(tmp_path):
    for metadata in ({"knowedit.kind": "x"}, {"a": 1}):
        with pytest.raises(InputError):
            write_tensors(tmp_path / "t", KIND, TENSORS, metadata)
    assert list(tmp_path.iterdir()) == []


def test_interrupted_writes_leave_the_old_file(path, monkeypatch):
    before = path.read_bytes()

    def interrupt(_descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr("knowedit.writing.files.os.fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_bytes(path, b"new", force=True)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]
