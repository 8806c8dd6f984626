"""A small part of ``nox -s crash``: commands that are killed and given again leave what undisturbed ones leave."""

from __future__ import annotations

import os
import random
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.runs import crash

SEED, KILLS = 12, 3


def small(base: str) -> None:
    """In a process of its own, since it makes things small for good."""
    crash.prepare(Path(base))
    for command in crash.COMMANDS:
        if command.name in crash.QUICK:
            killed = list(crash.trials(Path(base), command, random.Random(SEED), KILLS))[-1]
            print(command.name, killed)
            told, left = full_disk(Path(base), command)
            assert len(told) == 1, told
            assert "cannot be written" in told[0], told
            assert left <= {"o/manifest.json"}, left  # of a run, which can be resumed


def full_disk(base: Path, command: crash.Command) -> tuple[list[str], set[str]]:
    """What a command says where no file can have more than 8 KiB, and the files that it leaves."""
    folder = crash.fresh(base, command)
    before = crash.content(folder)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.chdir(folder)
        resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))
        result = CliRunner().invoke(crash.app, ["-q", *map(str, command.arguments)])
        told = result.stderr if result.exit_code == 2 else f"{result.exit_code} {result.exception!r}\n\n"
        os.write(writer, told.strip().encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as stream:
        told = stream.read().splitlines()
    os.waitpid(child, 0)
    after = crash.content(folder)
    assert {name: after.get(name) for name in before} == before
    return told, after.keys() - before.keys()


def test_killed_and_given_again(tmp_path):
    code = f"from tests.runs.test_crash import small; small({str(tmp_path)!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    counts = dict(line.split() for line in done.stdout.splitlines())
    assert counts.keys() == set(crash.QUICK)
    assert all(int(count) >= KILLS for count in counts.values())


def test_what_differs_is_found(tmp_path):
    """The comparison sees a changed byte, a leftover and a missing file, and no clock."""
    (tmp_path / "a").write_bytes(b"x")
    (tmp_path / "r.jsonl").write_bytes(b'{"case_id":1,"seconds":1.0,"sha256":"a"}\n')
    before = crash.content(tmp_path)
    (tmp_path / "r.jsonl").write_bytes(b'{"case_id":1,"seconds":2.0,"sha256":"b"}\n')
    assert crash.content(tmp_path) == before
    (tmp_path / ".a.0123456789abcdef.tmp").write_bytes(b"")
    assert crash.content(tmp_path) != before


def test_an_orphan_is_found(monkeypatch):
    with subprocess.Popen(["sleep", "30"], start_new_session=True) as process:
        ticks = iter([0.0, 100.0])
        monkeypatch.setattr(crash.time, "monotonic", lambda: next(ticks))
        with pytest.raises(AssertionError, match="outlive"):
            crash._require_no_orphans(process.pid)
        process.kill()
