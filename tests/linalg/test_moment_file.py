"""The file of a moment: bit-equal round trips, atomic writes, and no altered byte goes unnoticed."""

import json
import re

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import save_file

from knowedit.errors import FileFormatError, InputError
from knowedit.linalg import SecondMoment
from knowedit.linalg.second_moment import KIND
from knowedit.tensorfile import write_tensors

from .strategies import few, key_batches

few_files = settings(few, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
words = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
NOTES = {"model": "gpt2-xl", "layer": "15", "Korpus": "Wikipedia, 100 000 Sätze"}


@pytest.fixture
def moment():
    return SecondMoment.zeros(2).update(np.array([[1.0, 0.3], [0.1, 2.0], [1e-9, -7.0]]))


@pytest.fixture
def path(tmp_path, moment):
    target = tmp_path / "moment.safetensors"
    moment.save(target, metadata=NOTES)
    return target


@few_files
@given(batches=key_batches(), notes=st.dictionaries(words, words, max_size=3))
def test_round_trip_is_bit_equal(tmp_path, batches, notes):
    """Sum, count, resolution and text come back exactly, whatever they are."""
    moment = SecondMoment.zeros(batches[0].shape[1]).update(batches[0])
    moment.save(tmp_path / "m", metadata=notes, force=True)
    loaded, text = SecondMoment.load_with_metadata(tmp_path / "m")
    assert loaded.raw_sum.tobytes() == moment.raw_sum.tobytes()
    assert (loaded.count, loaded.resolution, text) == (moment.count, moment.resolution, notes)


def test_loading_onto_another_library(path, moment):
    loaded = SecondMoment.load(path, like=torch.zeros(1))
    assert torch.equal(loaded.raw_sum, torch.from_numpy(moment.raw_sum))
    assert loaded.merge(loaded).count == 6


def test_the_same_content_gives_the_same_bytes_and_any_reader_opens_them(path, moment):
    again = path.with_name("again")
    SecondMoment.load(path).save(again, metadata=dict(reversed(NOTES.items())))
    assert again.read_bytes() == path.read_bytes()
    with safe_open(path, framework="np") as container:
        assert np.array_equal(container.get_tensor("raw_sum"), moment.raw_sum)
        entries = json.loads(container.metadata()["knowedit"])
        assert entries["knowedit.count"] == "3"
        assert entries["knowedit.schema"] == "1"
        assert entries["model"] == "gpt2-xl"


def test_every_single_bit_matters(path):
    """Flip each bit of the file in turn: none of the files loads, all are refused as what they are."""
    good = path.read_bytes()
    for place in range(len(good)):
        bad = bytearray(good)
        bad[place] ^= 1 << (place % 8)
        path.write_bytes(bad)
        with pytest.raises(FileFormatError):
            SecondMoment.load(path)


def test_every_truncation_is_noticed(path):
    good = path.read_bytes()
    for length in [*range(0, len(good), 7), len(good) - 1]:
        path.write_bytes(good[:length])
        with pytest.raises(FileFormatError) as caught:
            SecondMoment.load(path)
        assert "\n" not in str(caught.value)
        assert "expected" in str(caught.value)
    path.write_bytes(good + b"x")
    with pytest.raises(FileFormatError):
        SecondMoment.load(path)


def test_foreign_files(path, tmp_path):
    save_file({"W": np.eye(2)}, path)
    with pytest.raises(FileFormatError, match="but not a saved second moment"):
        SecondMoment.load(path)
    save_file(
        {"raw_sum": np.eye(2)}, path, metadata={"knowedit.kind": "second_moment", "knowedit.schema": "2"}
    )
    with pytest.raises(FileFormatError, match="has schema '2'; expected '1'"):
        SecondMoment.load(path)
    save_file(
        {"raw_sum": np.eye(2)}, path, metadata={"knowedit.kind": "second_moment", "knowedit.schema": "1"}
    )
    with pytest.raises(FileFormatError, match="SHA-256"):
        SecondMoment.load(path)
    path.write_text("not a safetensors file at all, but long enough to look like one")
    with pytest.raises(FileFormatError, match="not a whole safetensors file"):
        SecondMoment.load(path)
    with pytest.raises(InputError, match="there is no file"):
        SecondMoment.load(tmp_path / "missing")
    with pytest.raises(InputError, match="there is no file"):
        SecondMoment.load(tmp_path)


@pytest.mark.parametrize(
    ("tensors", "own"),
    [
        ({"other": np.eye(2)}, {"count": "1", "resolution": "0x1p-52"}),
        ({"raw_sum": np.eye(2), "other": np.eye(2)}, {"count": "1", "resolution": "0x1p-52"}),
        ({"raw_sum": np.eye(2)}, {"count": "1"}),
        ({"raw_sum": np.eye(2)}, {"resolution": "0x1p-52"}),
    ],
)
def test_a_whole_file_that_holds_something_else(tmp_path, tensors, own):
    write_tensors(tmp_path / "m", KIND, tensors, {}, own=own)
    with pytest.raises(FileFormatError) as caught:
        SecondMoment.load(tmp_path / "m")
    words = (
        rf"{tmp_path / 'm'} is marked as a second moment but does not hold one \(.+\); expected a file that "
    )
    assert re.fullmatch(words + "SecondMoment.save wrote; compute it again", str(caught.value))


def test_a_failed_write_leaves_the_old_file_and_no_other(path, moment, monkeypatch):
    good = path.read_bytes()

    def fail(descriptor):
        raise OSError("disk full")

    monkeypatch.setattr("knowedit.writing.files.os.fsync", fail)
    with pytest.raises(InputError, match=r"cannot be written \(disk full\): make room"):
        moment.update(np.eye(2)).save(path, force=True)
    assert path.read_bytes() == good
    assert list(path.parent.iterdir()) == [path]


def test_saving_replaces_if_it_is_told_to_and_leaves_no_other_file(path, moment):
    with pytest.raises(InputError, match="exists already"):
        moment.update(np.eye(2)).save(path)
    assert SecondMoment.load(path).count == moment.count
    moment.update(np.eye(2)).save(path, force=True)
    assert SecondMoment.load(path).count == 5
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("notes", [{"layer": 15}, {1: "x"}, {"knowedit.count": "9"}])
def test_metadata_that_cannot_be_kept(tmp_path, moment, notes):
    with pytest.raises(InputError):
        moment.save(tmp_path / "m", metadata=notes)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_does_not_exist(tmp_path, moment):
    with pytest.raises(InputError, match=r"the folder .* does not exist"):
        moment.save(tmp_path / "no" / "m")
