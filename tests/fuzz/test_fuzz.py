"""A thousand damaged files, and that the fuzzer finds what breaks the law. ``nox -s fuzz`` reads ten thousand."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from knowedit.errors import FileFormatError
from tests.fuzz.kinds import KINDS, Kind
from tests.fuzz.mutators import FORMS, damaged
from tests.fuzz.run import Worker, found_in

SEED = 12
COUNT = 1000


def test_every_file_is_read_or_refused_in_one_line():
    found = [
        f"{one.kind} {number}: {one.what} at {one.where}"
        for number, one in found_in(SEED, range(COUNT))
        if one
    ]
    assert found == []


@pytest.mark.parametrize("form", FORMS)
def test_damage_depends_on_the_seed_alone_and_is_damage(form):
    data = json.dumps([{"a": 1, "b": ["x", 2.5]}]).encode() + b"\n"
    same = [damaged(form, data, Random(f"{form} {number}")) for number in (1, 2, 3, 4)]
    assert same == [damaged(form, data, Random(f"{form} {number}")) for number in (1, 2, 3, 4)]
    assert len({data, *same}) > 3


def bad(path: Path, _: object) -> None:
    text = path.read_bytes()
    if text == b"good " * 40:
        return
    (deed,) = Random(text).choices(("read", "refuse", "error", "memory", "exit", "die"), (4, 4, 4, 4, 4, 1))
    if deed == "refuse":
        raise FileFormatError("x" * 100 + "\n" + "y" * 5000)
    if deed == "error":
        raise KeyError("a")
    if deed == "memory":
        bytearray(3 << 30)
    if deed == "exit":
        raise SystemExit(0)
    if deed == "die":
        os.kill(os.getpid(), signal.SIGKILL)


def make(folder: Path, _: object) -> Path:
    (folder / "a.txt").write_text("good " * 40)
    return folder / "a.txt"


def test_the_fuzzer_finds_errors_that_are_not_ours_exits_memory_and_deaths(monkeypatch):
    """In processes of its own, one of which is killed again and again."""
    kind = Kind("bad", "text", make, bad)
    monkeypatch.setattr("tests.fuzz.run.KINDS", (kind,))
    found = {one.what.partition(":")[0] for _, one in found_in(0, range(24), (kind,)) if one}
    assert found == {"KeyError", "MemoryError", "SystemExit", "WorkerDied"}


def test_a_reader_that_takes_too_long_is_found(tmp_path, monkeypatch):
    def slow(path: Path, _: object) -> None:
        while path.read_bytes() != b"good " * 40:
            pass

    monkeypatch.setattr("tests.fuzz.run.SECONDS", 0.2)
    worker = Worker(tmp_path, 0, (replace(KINDS[0], form="text", make=make, read=slow),))
    assert worker.case(1).what.startswith("TooLong")
