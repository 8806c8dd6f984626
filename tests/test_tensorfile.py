from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import load_file

from knowedit.errors import FileFormatError, InputError
from knowedit.tensorfile import Kind, read_tensors, write_bytes, write_tensors

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

    monkeypatch.setattr("knowedit.tensorfile.os.fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_bytes(path, b"new")
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]
