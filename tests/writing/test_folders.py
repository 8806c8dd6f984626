"""A folder is there whole or as it was, and replaces nothing but an earlier one of its kind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
from pathlib import Path

import pytest

from knowedit.errors import InputError
from knowedit.writing import new_folder
from tests.writing.test_files import DIGITS, limited, names

MARK = "mark.json"


def write(path: Path, text: str = "new", *, force: bool = False) -> None:
    with new_folder(path, MARK, "export", force=force) as place:
        (place / "data").write_text(text)
        (place / MARK).write_text(json.dumps({"files": ["data"]}))


def test_only_an_earlier_one_is_replaced_and_only_if_forced(tmp_path):
    path = tmp_path / "x"
    write(path, "old")
    with pytest.raises(InputError, match="holds an earlier export: give another folder, or --force"):
        write(path)
    assert (path / "data").read_text() == "old"
    write(path, force=True)
    assert (path / "data").read_text() == "new"
    (path / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match=r"also holds mine.txt, which is no part of it: move it away"):
        write(path, force=True)
    assert names(tmp_path) == ["x"]


def test_of_two_who_write_at_the_same_time_one_is_refused(tmp_path):
    path = tmp_path / "x"

    def write_late():
        with new_folder(path, MARK, "export") as place:
            (place / MARK).write_text("{}")
            write(path, "early")

    with pytest.raises(InputError, match="x exists already"):
        write_late()
    assert (path / "data").read_text() == "early"
    assert names(tmp_path) == ["x"]


def killed_at(rename: int, path: Path) -> bool:
    """Whether a process that replaces the folder was killed just after so many renames and removals."""
    child = os.fork()
    if child:
        return os.WIFSIGNALED(os.waitpid(child, 0)[1])
    left = rename

    def counted(real):
        def call(*arguments, **options):
            nonlocal left
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1
            return real(*arguments, **options)

        return call

    Path.rename = counted(Path.rename)  # type: ignore[method-assign]
    shutil.rmtree = counted(shutil.rmtree)
    try:
        write(path, force=True)
    finally:
        os._exit(0)


@pytest.mark.parametrize(("steps", "there"), [(0, "old"), (1, None), (2, "new")])
@pytest.mark.parametrize("by", ["refused", "forced"])
def test_killed_between_two_renames_the_next_run_puts_it_right(tmp_path, steps, there, by):
    """Before the first, between the two, and before the old one is removed; the next run is refused or replaces it."""
    path = tmp_path / "x"
    write(path, "old")
    assert killed_at(steps, path)
    assert path.exists() == (there is not None)
    assert names(tmp_path) != ["x"]
    if by == "refused":
        with pytest.raises(InputError, match="holds an earlier export"):
            write(path)
        assert (path / "data").read_text() == (there or "old")
    else:
        write(path, "newest", force=True)
        assert (path / "data").read_text() == "newest"
    assert names(tmp_path) == ["x"]


def test_leftovers_of_others_stay(tmp_path):
    for name in (f".y.{DIGITS}.tmp", f".y.{DIGITS}.old", ".x.old", ".x.tmp", f".x.{DIGITS}.old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "thesis").write_text("mine")
    before = names(tmp_path)
    with pytest.raises(ZeroDivisionError), new_folder(tmp_path / "x", MARK, "export"):
        raise ZeroDivisionError
    assert names(tmp_path) == before


def test_what_is_being_written_is_no_leftover(tmp_path):
    with new_folder(tmp_path / "x", MARK, "export") as place:
        (place / MARK).write_text("slow")
        with pytest.raises(ZeroDivisionError), new_folder(tmp_path / "x", MARK, "export"):
            raise ZeroDivisionError
    assert (tmp_path / "x" / MARK).read_text() == "slow"


def test_a_full_disk_is_one_line_and_leaves_the_old_one(tmp_path):
    write(tmp_path / "x", "old")
    told = limited(65536, lambda: write(tmp_path / "x", "new" * 70_000, force=True))
    assert told.startswith(f"InputError: {tmp_path / 'x'} cannot be written (File too large): make room")
    assert names(tmp_path) == ["x"]
    assert (tmp_path / "x" / "data").read_text() == "old"


def test_modes_are_those_of_every_new_file(tmp_path):
    with new_folder(tmp_path / "x", MARK, "export") as place:
        for name in (MARK, "secret"):
            (place / name).write_text("")
            (place / name).chmod(0o600)
    (tmp_path / "ordinary").write_text("")
    modes = {stat.S_IMODE(one.stat().st_mode) for one in (*(tmp_path / "x").iterdir(), tmp_path / "ordinary")}
    assert len(modes) == 1
