"""A run's folder keeps what was written, however the writer ends, and refuses what is not its own."""

from __future__ import annotations

import json
import os
import random
import signal
from pathlib import Path

import pytest

from knowedit.errors import FileFormatError, InputError
from knowedit.runs import MANIFEST, RunFolder, differences, read_folder, sealed
from knowedit.runs.folder import RECORDS
from knowedit.runs.held import LOCK
from tests.runs.kills import kill_at

KIND, SCHEMA, TITLE = "test.run", 2, "a test run"
IDENTITY = {"model": "m", "settings": {"layer": 5, "grid": (1, 2)}}
CONTENTS = [{"n": n, "text": "é" * (n % 7), "values": [n / 7] * (n % 5)} for n in range(80)]


def folder(path):
    return RunFolder(path, KIND, SCHEMA, TITLE)


def read(path, **options):
    return read_folder(path, KIND, (1, SCHEMA), TITLE, **options)


def write_all(path):
    """Start or resume: the lines that are missing."""
    with folder(path) as run:
        for content in CONTENTS[len(run.begin(IDENTITY)) :]:
            run.append(content)


def names(path):
    return sorted(one.name for one in path.iterdir())


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "deep" / "run"
    with folder(path) as run:
        assert run.begin(IDENTITY, {"model": "M"}, complete=False) == []
        run.append(CONTENTS[0])
        run.append(*CONTENTS[1:3])
        run.update(complete=True)
    manifest, contents = read(path)
    assert contents == CONTENTS[:3]
    assert manifest == {
        "kind": KIND,
        "schema": SCHEMA,
        "names": {"model": "M"},
        "run": {"model": "m", "settings": {"layer": 5, "grid": [1, 2]}},
        "complete": True,
    }
    assert names(path) == [MANIFEST, RECORDS]
    with folder(path) as run:
        assert run.begin(IDENTITY) == CONTENTS[:3]
        assert run.manifest == manifest


def test_a_folder_in_which_nothing_was_begun_is_removed(tmp_path):
    with folder(tmp_path / "run"):
        assert (tmp_path / "run").is_dir()
    assert not (tmp_path / "run").exists()
    mine = tmp_path / "mine"
    mine.mkdir()
    with folder(mine):
        pass
    assert names(mine) == []


# Killed


def test_killed_by_the_system_thirty_times(tmp_path):
    """At random bytes; each time it resumes where it was, and in the end nothing is lost or there twice."""
    draw, done = random.Random(4), [0]
    for kill in range(30):
        assert kill_at(lambda: write_all(tmp_path / "run"), draw.randrange(1, 220)), (
            f"kill {kill} has to fall into the run"
        )
        done.append(len(read(tmp_path / "run")[1]))
        assert done[-1] >= done[-2]
    assert len(set(done)) > 10
    assert names(tmp_path / "run") == [LOCK, MANIFEST, RECORDS]
    write_all(tmp_path / "run")
    assert read(tmp_path / "run", whole=True)[1] == CONTENTS
    assert names(tmp_path / "run") == [MANIFEST, RECORDS]


def test_cut_at_every_byte_of_the_last_lines(tmp_path):
    write_all(tmp_path)
    path = tmp_path / RECORDS
    whole = path.read_bytes()
    begin = len(whole) - len(b"".join(whole.splitlines(keepends=True)[-2:]))
    for size in range(begin, len(whole)):
        path.write_bytes(whole[:size])
        full = whole[:size].count(b"\n")
        assert read(tmp_path)[1] == CONTENTS[:full]
        if not whole[:size].endswith(b"\n"):
            with pytest.raises(FileFormatError, match=f"line {full + 1} of .* is not as it was written"):
                read(tmp_path, whole=True)
        if size % 9 == 0:
            write_all(tmp_path)
            assert path.read_bytes() == whole


def test_zeros_where_the_last_line_should_be_are_dropped(tmp_path):
    write_all(tmp_path)
    path = tmp_path / RECORDS
    whole = path.read_bytes()
    last = whole.splitlines(keepends=True)[-1]
    path.write_bytes(whole[: -len(last)] + bytes(len(last)))
    write_all(tmp_path)
    assert path.read_bytes() == whole


def test_killed_between_the_manifest_and_its_place(tmp_path):
    (tmp_path / f".{MANIFEST}.0123456789abcdef.tmp").write_text("{")
    write_all(tmp_path)
    assert names(tmp_path) == [MANIFEST, RECORDS]
    (tmp_path / f".{RECORDS}.0123456789abcdef.tmp").write_text("{")
    (tmp_path / ".mine.tmp").write_text("")
    write_all(tmp_path)
    assert names(tmp_path) == [".mine.tmp", MANIFEST, RECORDS]


@pytest.mark.parametrize("name", ["notes.txt", ".mine.tmp", "points.jsonl"])
def test_a_folder_with_other_things_in_it_is_refused(tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(InputError, match=f"holds {name} and no {MANIFEST}: expected a new or empty folder"):
        write_all(tmp_path)
    assert [(one.name, one.read_text()) for one in tmp_path.iterdir()] == [(name, "mine")]


def test_the_root_and_no_name_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path, words in (("", "is the one you are in"), ("/", f"and no {MANIFEST}")):
        with pytest.raises(InputError, match=words):
            write_all(Path(path))
    assert names(tmp_path) == []


def test_folders_that_were_made_for_nothing_are_removed(tmp_path):
    with folder(tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b").is_dir()
    assert names(tmp_path) == []


# A disk that is full


@pytest.mark.parametrize("nth", [1, 2, 17, 80])
def test_a_full_disk_is_said_and_nothing_is_lost(tmp_path, monkeypatch, nth):
    writes, real = 0, os.write

    def write(number, data):
        nonlocal writes
        writes += 1
        if writes >= nth:
            if writes == nth:
                return real(number, bytes(data)[:20])
            raise OSError(28, "No space left on device")
        return real(number, data)

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", write)
        with pytest.raises(InputError, match=r"No space left on device.*lines before are safe; make room"):
            write_all(tmp_path)
    assert read(tmp_path, whole=True)[1] == CONTENTS[: nth - 1]
    write_all(tmp_path)
    assert read(tmp_path)[1] == CONTENTS


def test_a_disk_that_is_full_for_the_manifest_leaves_nothing(tmp_path, monkeypatch):
    def fsync(number):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        with pytest.raises(InputError, match="No space left"):
            write_all(tmp_path / "run")
    assert not (tmp_path / "run").exists()


# Two runs, one folder


def test_a_second_writer_is_refused(tmp_path):
    with folder(tmp_path) as run:
        run.begin(IDENTITY)
        run.append(CONTENTS[0])
        with pytest.raises(InputError, match="another process is writing"):
            write_all(tmp_path)
        assert read(tmp_path)[1] == CONTENTS[:1]
        run.append(CONTENTS[1])
    assert read(tmp_path)[1] == CONTENTS[:2]


def test_another_process_is_refused_and_the_lock_ends_with_its_holder(tmp_path):
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            with folder(tmp_path) as run:
                run.begin(IDENTITY)
                run.append(CONTENTS[0])
                os.write(writer, b"held")
                signal.pause()
        finally:
            os._exit(0)
    assert os.read(reader, 4) == b"held"
    with pytest.raises(InputError, match="another process is writing"):
        write_all(tmp_path)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    write_all(tmp_path)
    assert read(tmp_path)[1] == CONTENTS


def test_another_run_is_refused_with_what_differs(tmp_path):
    write_all(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    words = "another run: settings layer is 5 there and 6 here; ask for the same to resume it"
    with folder(tmp_path) as run, pytest.raises(InputError, match=words):
        run.begin({"model": "m", "settings": {"layer": 6, "grid": [1, 2]}})
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert differences(IDENTITY, {"model": "m", "settings": {"layer": 5, "grid": [1, 2]}}) == ""


# Bad folders


def test_what_is_no_run_is_left_as_it_is(tmp_path):
    (tmp_path / RECORDS).write_text("mine\n")
    with pytest.raises(InputError, match=f"holds {RECORDS} and no {MANIFEST}"):
        write_all(tmp_path)
    assert names(tmp_path) == [RECORDS]
    for text, words in (("{}", "not the manifest of a test run of schema 2"), ("{", "is not JSON")):
        (tmp_path / MANIFEST).write_text(text)
        with pytest.raises(FileFormatError, match=words):
            write_all(tmp_path)
    with pytest.raises(InputError, match=f"has no {MANIFEST}"):
        read(tmp_path / "nowhere")


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        write_all(tmp_path / "file" / "run")


@pytest.mark.parametrize("number", [2, 80])
def test_a_line_that_was_changed_is_named(tmp_path, number):
    write_all(tmp_path)
    lines = (tmp_path / RECORDS).read_bytes().splitlines(keepends=True)
    lines[number - 1] = lines[number - 1].replace(b'"n":', b'"n":1')
    (tmp_path / RECORDS).write_bytes(b"".join(lines))
    for use in (read, write_all):
        with pytest.raises(FileFormatError, match=f"line {number} of .* is not as it was written"):
            use(tmp_path)


@pytest.mark.parametrize(
    ("kept", "words"),
    [
        ([*range(39), *range(40, 80)], rf"{RECORDS} lacks line 40: the next line there is number 41"),
        ([*range(1, 80)], rf"{RECORDS} lacks line 1: the next line there is number 2"),
        ([*range(10), *range(79, 80)], rf"{RECORDS} lacks lines 11 to 79: the next line there is number 80"),
        ([*range(80), 79], rf"line 81 of .*{RECORDS} has the number 80, so it was moved, or is there twice"),
        ([0, 2, 1], rf"{RECORDS} lacks line 2"),
    ],
)
def test_a_line_that_is_missing_or_moved_is_named(tmp_path, kept, words):
    """It is as it was written, so only its place tells."""
    write_all(tmp_path)
    lines = (tmp_path / RECORDS).read_bytes().splitlines(keepends=True)
    damaged = b"".join(lines[number] for number in kept)
    (tmp_path / RECORDS).write_bytes(damaged)
    for use in (read, write_all):
        with pytest.raises(FileFormatError, match=words):
            use(tmp_path)
    assert (tmp_path / RECORDS).read_bytes() == damaged


def test_lines_of_earlier_versions_have_no_number_and_may_come_first(tmp_path):
    write_all(tmp_path)
    path = tmp_path / RECORDS
    old = [sealed(content) for content in CONTENTS]
    path.write_bytes(b"".join(old[:30]))
    write_all(tmp_path)
    assert path.read_bytes() == b"".join(
        [*old[:30], *(sealed(content, number) for number, content in enumerate(CONTENTS[30:], 31))]
    )
    assert read(tmp_path, whole=True)[1] == CONTENTS
    path.write_bytes(path.read_bytes() + old[0])
    with pytest.raises(FileFormatError, match=r"line 81 of .* has the number None"):
        read(tmp_path)


@pytest.mark.parametrize("number", [True, 1.0, "1", -1, None])
def test_a_number_of_a_line_is_a_whole_number(tmp_path, number):
    write_all(tmp_path)
    (tmp_path / RECORDS).write_bytes(
        sealed({"n": 0, "line": number}) + sealed({"n": 1}, 2) + sealed({"n": 2})
    )
    with pytest.raises(FileFormatError, match=r"line [13] of .* has the number"):
        read(tmp_path)


def test_a_manifest_that_was_changed_is_found(tmp_path):
    """Any byte of it: the seal covers the layout too."""
    write_all(tmp_path)
    path = tmp_path / MANIFEST
    data = path.read_bytes()
    for at in range(len(data)):
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        with pytest.raises(FileFormatError):
            read(tmp_path)
    path.write_bytes(data)
    assert read(tmp_path)[1] == CONTENTS


def test_a_manifest_without_a_seal_is_one_of_schema_1(tmp_path):
    write_all(tmp_path)
    path = tmp_path / MANIFEST
    told = json.loads(path.read_bytes())
    del told["sha256"]
    path.write_text(json.dumps(told))
    with pytest.raises(FileFormatError, match="is not as it was written"):
        read(tmp_path)
    path.write_text(json.dumps(told | {"schema": 1}))
    assert read(tmp_path)[1] == CONTENTS
    with pytest.raises(FileFormatError, match="of schema 2"):
        write_all(tmp_path)


def test_a_condemned_run_is_not_used(tmp_path):
    with folder(tmp_path) as run:
        run.begin(IDENTITY)
        run.update(condemned="a.weight is not what it was")
    for use in (read, write_all):
        with pytest.raises(InputError, match=r"cannot be used: a\.weight"):
            use(tmp_path)


# Lines


def test_a_sealed_line_is_itself_and_nothing_else(tmp_path):
    line = sealed({"b": 1.5, "a": "é\n\x00"})
    write_all(tmp_path)
    path = tmp_path / RECORDS
    path.write_bytes(line)
    assert read(tmp_path)[1] == [{"a": "é\n\x00", "b": 1.5}]
    assert line.count(b"\n") == 1
    for at in range(len(line) - 1):
        for byte in (0, 32, 49, line[at] ^ 1):
            changed = line[:at] + bytes([byte]) + line[at + 1 :]
            path.write_bytes(changed)
            if changed != line:
                with pytest.raises(FileFormatError):
                    read(tmp_path)
    with pytest.raises(ValueError, match="not JSON compliant"):
        sealed({"a": float("nan")})
