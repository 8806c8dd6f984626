"""A file is there whole or as it was, in nobody's place, and nothing is left beside it."""

from __future__ import annotations

import os
import resource
import signal
import stat
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from knowedit.errors import FileFormatError, InputError
from knowedit.tensorfile import write_safetensors
from knowedit.writing import new_file, plain_name, write_bytes

DIGITS = "0123456789abcdef"


def names(path: Path) -> list[str]:
    return sorted(one.name for one in path.iterdir())


def test_nothing_is_replaced_unless_it_is_asked_for(tmp_path):
    write_bytes(tmp_path / "a", b"one")
    with pytest.raises(InputError, match=r"a exists already: give another name, or --force \(force=True\)"):
        write_bytes(tmp_path / "a", b"two")
    assert (tmp_path / "a").read_bytes() == b"one"
    write_bytes(tmp_path / "a", b"two", force=True)
    assert (tmp_path / "a").read_bytes() == b"two"
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize("links", [True, False])
def test_of_two_who_write_at_the_same_time_one_is_refused(tmp_path, monkeypatch, links):
    if not links:
        monkeypatch.setattr(os, "link", _no_links)

    def write_late():
        with new_file(tmp_path / "a") as late:
            late.write(b"late")
            write_bytes(tmp_path / "a", b"early")

    with pytest.raises(InputError, match="exists already"):
        write_late()
    assert (tmp_path / "a").read_bytes() == b"early"
    assert names(tmp_path) == ["a"]


def _no_links(*_: object) -> None:
    raise PermissionError(1, "Operation not permitted")


def _write_once(path: Path, number: int) -> bool:
    try:
        write_bytes(path, bytes([number]) * 1000)
    except InputError:
        return False
    return True


def test_of_eight_processes_one_wins(tmp_path):
    with get_context("fork").Pool(8) as pool:
        won = pool.starmap(_write_once, [(tmp_path / "a", number) for number in range(8)], chunksize=1)
    assert won.count(True) == 1
    assert (tmp_path / "a").read_bytes() == bytes([won.index(True)]) * 1000
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize("path", ["", ".", "/", "a/..", "no/a", "file/a"])
def test_what_names_no_file_is_refused(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("mine")
    for force in (False, True):
        with pytest.raises(InputError):
            write_bytes(path, b"x", force=force)
    assert names(tmp_path) == ["file"]


def limited(size: int, work) -> str:
    """What work, in a process of its own that can write no file larger than that, raised; empty if nothing."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        told = ""
        try:
            work()
        except BaseException as error:
            told = f"{type(error).__name__}: {error}"
        os.write(writer, told.encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as stream:
        told = stream.read()
    os.waitpid(child, 0)
    return told


@pytest.mark.parametrize("there", [True, False])
def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, there):
    path = tmp_path / "a"
    if there:
        path.write_bytes(b"old")
    told = limited(65536, lambda: write_bytes(path, bytes(70_000), force=True))
    assert told == f"InputError: {path} cannot be written (File too large): make room, or give another path"
    assert names(tmp_path) == (["a"] if there else [])
    assert not there or path.read_bytes() == b"old"


def test_modes_are_those_of_every_new_file(tmp_path):
    before = os.umask(0o027)
    try:
        write_bytes(tmp_path / "a", b"x")
        write_safetensors(tmp_path / "b", {"x": np.zeros(2)}, {})
    finally:
        os.umask(before)
    assert [stat.S_IMODE(one.stat().st_mode) for one in tmp_path.iterdir()] == [0o640, 0o640]


# What killed processes leave


def test_leftovers_of_the_same_name_are_removed_and_others_stay(tmp_path):
    for name in ("a", "b", "a.b"):
        (tmp_path / f".{name}.{DIGITS}.tmp").write_bytes(b"half")
    others = [".a.tmp", ".a.0123.tmp", f"a.{DIGITS}.tmp", f".a.{DIGITS}.tmp.mine", f".a.{DIGITS}.bak"]
    for name in others:
        (tmp_path / name).write_bytes(b"mine")
    write_bytes(tmp_path / "a", b"x")
    assert names(tmp_path) == sorted([*others, "a", f".b.{DIGITS}.tmp", f".a.b.{DIGITS}.tmp"])


def test_what_is_being_written_is_no_leftover(tmp_path):
    with new_file(tmp_path / "a", force=True) as stream:
        stream.write(b"slow")
        write_bytes(tmp_path / "a", b"quick")
    assert (tmp_path / "a").read_bytes() == b"slow"


def test_killed_in_the_middle_the_next_tidies_up(tmp_path):
    child = os.fork()
    if child == 0:
        with new_file(tmp_path / "a") as stream:
            stream.write(b"half")
            stream.flush()
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert len(names(tmp_path)) == 1
    write_bytes(tmp_path / "a", b"whole")
    assert names(tmp_path) == ["a"]


# The library's format


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(
        st.text("abc.0_é", max_size=5),
        st.tuples(
            st.sampled_from([np.float64, np.float32, np.int64]),
            st.lists(st.integers(0, 3), max_size=3),
        ),
        max_size=5,
    ),
    st.dictionaries(
        st.text('ab"\\\n\x01\x7fé\u2028', max_size=4), st.text(max_size=9), min_size=1, max_size=1
    ),
)
def test_the_bytes_are_those_of_the_safetensors_library(tmp_path_factory, shapes, metadata):
    path = tmp_path_factory.getbasetemp() / "same"
    tensors = {name: np.ones(shape, dtype) for name, (dtype, shape) in shapes.items()}
    write_safetensors(path, tensors, metadata, force=True)
    assert path.read_bytes() == save(tensors, metadata)


# Names out of files


OUTSIDE = ["", ".", "..", "/etc/passwd", "../a", "a/b", "a/", "a\\b", "C:a"]
UNPRINTABLE = ["a\0", "a\nb", "\x1b[2J", "\u202ea", "half \ud800"]
NO_NAMES = [3, None, True, ["a"], "a" * 256, "é" * 128]


@pytest.mark.parametrize("name", [*OUTSIDE, *UNPRINTABLE, *NO_NAMES], ids=ascii)
def test_a_name_that_leads_elsewhere_is_refused(name):
    with pytest.raises(
        FileFormatError, match=r"^the entry is .*: expected the plain name of a file"
    ) as refused:
        plain_name(name, "the entry")
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize("name", ["a", "statistics.txt", ".hidden", "a..b", "Zürich 1", "a" * 255])
def test_a_plain_name_is_itself(name):
    assert plain_name(name, "the entry") == name
