"""A run that is stopped anywhere and started again writes the bytes that one in peace writes."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from knowedit.editing import (
    Corpus,
    Reading,
    StatisticsRun,
    collect_second_moments,
    load_second_moment,
    text_file,
)
from knowedit.editing.statistics import key_sums as key_sums_module
from knowedit.editing.statistics import run as statistics_run_module
from knowedit.editing.statistics.run import STATE
from knowedit.errors import FileFormatError, InputError
from knowedit.models import load
from knowedit.runs import MANIFEST

ROOT = Path(__file__).parents[2]
TEXTS = [f"Paris number {n} is a city in Brazil. {'Marie Curie ' * (n % 7)}" for n in range(60)]
READING = Reading(batch_tokens=64, block=2)


class Stopped(BaseException):
    """Like Ctrl-C: nothing may catch it."""


def make(out, texts=TEXTS, **fields):
    fields = {"layers": (2, 0), "reading": READING, "checkpoint_seconds": 0.0} | fields
    return StatisticsRun(texts if isinstance(texts, Corpus) else Corpus.of(texts), out=out, **fields)


def content(folder):
    """Digests and not bytes: pytest takes minutes to show how two large files differ."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def lm(tiny_gpt2):
    return tiny_gpt2


@pytest.fixture(scope="module")
def undisturbed(lm, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    make(folder).run(lm)
    return content(folder)


def test_the_files_hold_the_moments(lm, tmp_path):
    manifest = make(tmp_path / "new" / "out").run(lm)
    folder = tmp_path / "new" / "out"
    assert set(content(folder)) == {MANIFEST, "second_moment_0.safetensors", "second_moment_2.safetensors"}
    expected = collect_second_moments(lm, TEXTS, [0, 2], reading=READING)
    for row in manifest["layers"]:
        found = load_second_moment(folder / row["file"], lm, row["layer"])
        assert torch.equal(found.raw_sum, expected[row["layer"]].raw_sum)
        assert row["tokens"] == found.count == manifest["seen"]["tokens"]
    written = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    assert manifest == {key: value for key, value in written.items() if key != "sha256"}
    assert manifest["run"]["block"] == 2
    assert manifest["complete"] is True
    assert manifest["seen"]["texts"] == 60
    assert manifest["seen"]["texts_sha256"] == manifest["run"]["corpus"]["sha256"]
    assert [row["layer"] for row in manifest["layers"]] == [0, 2]
    assert manifest["layers"][0]["change"] > 0


def test_another_part_has_other_files(lm, tmp_path):
    (row,) = make(tmp_path, part="mlp_up", layers=(1,)).run(lm)["layers"]
    assert row["file"] == "second_moment_1_mlp_up.safetensors"
    assert load_second_moment(tmp_path / row["file"], lm, 1, "mlp_up").dim == lm.width


def test_the_cadence_of_checkpoints_changes_nothing(lm, tmp_path, undisturbed):
    make(tmp_path / "rare", checkpoint_seconds=1e9).run(lm)
    assert content(tmp_path / "rare") == undisturbed


def interrupt(lm, run, monkeypatch, batches):
    """Stop a run in the middle of its ``batches``-th forward from now."""
    left = batches

    def visit(*args):
        nonlocal left
        left -= 1
        if left < 0:
            raise Stopped
        real(*args)

    real = key_sums_module.visit
    with monkeypatch.context() as patch:
        patch.setattr(key_sums_module, "visit", visit)
        try:
            run.run(lm)
        except Stopped:
            return True
    return False


@pytest.mark.parametrize("batches", [*range(12), 20, 30])
def test_stopped_once_at_any_forward(lm, tmp_path, monkeypatch, undisturbed, batches):
    run = make(tmp_path / "stopped")
    assert interrupt(lm, run, monkeypatch, batches)
    run.run(lm)
    assert content(run.out) == undisturbed


@pytest.mark.parametrize("seed", range(3))
def test_stopped_again_and_again(lm, tmp_path, monkeypatch, undisturbed, seed):
    draw = random.Random(seed)
    run, stops = make(tmp_path / "stopped"), 0
    while interrupt(lm, run, monkeypatch, draw.randrange(3, 12)):
        stops += 1
    assert stops >= 3
    assert content(run.out) == undisturbed


@pytest.mark.parametrize("write", range(9))
def test_stopped_in_the_middle_of_a_write(lm, tmp_path, monkeypatch, undisturbed, write):
    """Half of the bytes are on the disk, under the temporary name, when the process dies."""
    left = write

    def fsync(number):
        nonlocal left
        left -= 1
        if left < 0:
            os.truncate(number, os.fstat(number).st_size // 2)
            raise Stopped

    run = make(tmp_path / "stopped")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        patch.setattr(Path, "unlink", lambda *args, **kwargs: None)  # a killed process does not tidy up
        with pytest.raises(Stopped):
            run.run(lm)
    assert list(run.out.glob(".*.tmp"))
    run.run(lm)
    assert content(run.out) == undisturbed


@pytest.mark.parametrize("renames", range(8))
def test_stopped_between_two_files(lm, tmp_path, monkeypatch, undisturbed, renames):
    left, real = renames, Path.replace

    def replace(self, target):
        nonlocal left
        left -= 1
        if left < 0:
            raise Stopped
        return real(self, target)

    run = make(tmp_path / "stopped", checkpoint_seconds=1e9)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", replace)
        try:
            run.run(lm)
        except Stopped:
            assert renames < 5
    run.run(lm)
    assert content(run.out) == undisturbed


def test_work_that_was_kept_is_not_done_again(lm, tmp_path, monkeypatch):
    seen = []
    interrupt(lm, make(tmp_path), monkeypatch, 12)
    make(tmp_path).run(lm, watch=lambda *now: seen.append(now))
    whole = []
    make(tmp_path / "whole").run(lm, watch=lambda *now: whole.append(now))
    assert 0 <= len(seen) - (len(whole) - 12) <= 4  # what was not kept is less than one chunk
    (last, fresh), (end, all_of_them) = seen[-1], whole[-1]
    assert last.tokens == end.tokens == all_of_them
    assert last.texts == end.texts == 60
    assert fresh < all_of_them
    assert seen[0][0].tokens > seen[0][1]


def test_a_finished_run_is_read_and_not_run(lm, tmp_path, monkeypatch):
    manifest = make(tmp_path).run(lm)
    before = content(tmp_path)
    monkeypatch.setattr(key_sums_module, "visit", None)
    assert make(tmp_path).run(lm) == manifest
    assert content(tmp_path) == before


def test_a_finished_run_whose_files_are_gone_is_run_again(lm, tmp_path, undisturbed):
    make(tmp_path / "a").run(lm)
    (tmp_path / "a" / "second_moment_0.safetensors").unlink()
    make(tmp_path / "a").run(lm)
    assert content(tmp_path / "a") == undisturbed


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"layers": (0, 1)}, r"layers is \[0, 2\] there and \[0, 1\] here"),
        ({"part": "mlp_up"}, "part is mlp_down there and mlp_up here"),
        ({"reading": replace(READING, batch_tokens=65)}, "batch_tokens is 64 there and 65 here"),
        ({"reading": replace(READING, max_texts=3)}, "max_texts is None there and 3 here"),
        ({"reading": replace(READING, window=9)}, "window is 64 there and 9 here"),
        ({"reading": replace(READING, block=3)}, "block is 2 there and 3 here"),
        ({"texts": TEXTS[1:]}, "corpus sha256 is [0-9a-f]+ there and [0-9a-f]+ here;"),
    ],
)
@pytest.mark.parametrize("finished", [True, False])
def test_another_run_in_the_folder_is_refused(lm, tmp_path, monkeypatch, change, words, finished):
    if finished:
        make(tmp_path).run(lm)
    else:
        interrupt(lm, make(tmp_path), monkeypatch, 6)
    before = content(tmp_path)
    with pytest.raises(InputError, match=words):
        make(tmp_path, **change).run(lm)
    assert content(tmp_path) == before


def test_another_model_is_refused(lm, fresh_lm, tmp_path, monkeypatch):
    interrupt(lm, make(tmp_path), monkeypatch, 6)
    with pytest.raises(InputError, match=r"model is [0-9a-f]+ there and [0-9a-f]+ here"):
        make(tmp_path).run(fresh_lm("gpt2", seed=1))


def test_the_same_weights_in_another_object_go_on(lm, fresh_lm, tmp_path, monkeypatch, undisturbed):
    run = make(tmp_path / "stopped")
    interrupt(lm, run, monkeypatch, 6)
    run.run(fresh_lm("gpt2"))
    assert content(run.out) == undisturbed


def test_texts_that_changed_without_a_new_name_are_refused(lm, tmp_path, monkeypatch):
    """A data set on the Hub, for instance, whose identity is no hash of its content."""
    identity = {"kind": "dataset", "id": "some/where"}
    first = Corpus("some/where", identity, lambda: iter(TEXTS))
    changed = Corpus("some/where", identity, lambda: iter(["Rome", *TEXTS[1:]]))
    shorter = Corpus("some/where", identity, lambda: iter(TEXTS[:2]))
    interrupt(lm, make(tmp_path, first), monkeypatch, 6)
    for other in (changed, shorter):
        with pytest.raises(InputError, match=r"first \d+ texts of some/where are not those"):
            make(tmp_path, other).run(lm)
    assert make(tmp_path, first).run(lm)["seen"]["texts"] == 60


def test_files_of_no_run_are_not_replaced(lm, tmp_path):
    (tmp_path / "second_moment_2.safetensors").write_bytes(b"mine")
    with pytest.raises(InputError, match=r"holds second_moment_2\.safetensors and no manifest"):
        make(tmp_path).run(lm)
    assert (tmp_path / "second_moment_2.safetensors").read_bytes() == b"mine"
    assert len(content(tmp_path)) == 1


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"kind": "knowedit.statistics", "schema": 3}'])
def test_a_manifest_that_is_none_is_refused(lm, tmp_path, text):
    (tmp_path / MANIFEST).write_text(text)
    with pytest.raises(FileFormatError, match="manifest"):
        make(tmp_path).run(lm)


def test_a_folder_of_version_0_1_0_is_refused(lm, tmp_path):
    """Its manifest has another schema, without a seal."""
    old = ROOT / "tests" / "data" / "v0.1.0" / "statistics" / MANIFEST
    (tmp_path / MANIFEST).write_bytes(old.read_bytes())
    with pytest.raises(
        FileFormatError, match="not the manifest of a statistics run of schema 2: give another folder"
    ):
        make(tmp_path).run(lm)
    assert (tmp_path / MANIFEST).read_bytes() == old.read_bytes()


def test_an_altered_manifest_is_refused(lm, tmp_path):
    make(tmp_path).run(lm)
    text = (tmp_path / MANIFEST).read_text(encoding="utf-8")
    (tmp_path / MANIFEST).write_text(text.replace('"texts": 60', '"texts": 61'), encoding="utf-8")
    with pytest.raises(FileFormatError, match="not as it was written"):
        make(tmp_path).run(lm)


def test_two_runs_do_not_write_to_one_folder(lm, tmp_path):
    def again(*_):
        with pytest.raises(InputError, match="another process is writing"):
            make(tmp_path).run(lm)
        raise Stopped

    with pytest.raises(Stopped):
        make(tmp_path).run(lm, watch=again)


def test_an_altered_state_is_refused(lm, tmp_path, monkeypatch):
    interrupt(lm, make(tmp_path), monkeypatch, 6)
    state = bytearray((tmp_path / STATE).read_bytes())
    state[-1] ^= 1
    (tmp_path / STATE).write_bytes(state)
    with pytest.raises(FileFormatError, match="altered"):
        make(tmp_path).run(lm)


def test_bad_input_leaves_no_folder(lm, tmp_path):
    for fields, words in (
        ({"layers": ()}, "no layer"),
        ({"layers": (4,)}, "layers go from 0 to 3"),
        ({"part": "head"}, "not a projection"),
        ({"reading": Reading(window=65)}, "64 positions"),
    ):
        with pytest.raises(InputError, match=words):
            make(tmp_path / "out", **fields).run(lm)
    assert not (tmp_path / "out").exists()


def test_no_text_with_a_token_is_refused(lm, tmp_path):
    with pytest.raises(InputError, match="no text"):
        make(tmp_path, ["", ""]).run(lm)


# In a process of its own, killed by the system

SCRIPT = """
import os, signal, sys
from pathlib import Path
import torch
from knowedit.editing import Reading, StatisticsRun, text_file
from knowedit.models import load

model, texts, out, threads = sys.argv[1:]
torch.set_num_threads(int(threads))  # the number decides in which order sums are taken
reading = Reading(batch_tokens=64, block=2)
run = StatisticsRun(text_file(texts), (0, 2), Path(out), reading=reading, checkpoint_seconds=0.0)
forwards = 0

def die(*_):
    global forwards
    forwards += run.out.joinpath(STATE).is_file()
    if forwards == 6:  # in the middle of a chunk, after some were written
        os.kill(os.getpid(), signal.SIGKILL)

run.run(load(model), watch=die)
""".replace("STATE", repr(STATE))


def test_killed_by_the_system(tiny_gpt2, tmp_path):
    model, texts, out = tmp_path / "model", tmp_path / "t.txt", tmp_path / "out"
    tiny_gpt2.model.save_pretrained(model)
    tiny_gpt2.tokenizer.save_pretrained(model)
    texts.write_text("\n".join(TEXTS * 15), encoding="utf-8")
    arguments = [str(model), str(texts), str(out), str(torch.get_num_threads())]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments], cwd=ROOT, capture_output=True, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert (out / STATE).is_file()
    corpus = text_file(texts)
    lm = load(str(model))
    make(out, corpus).run(lm)
    make(tmp_path / "whole", corpus).run(lm)
    assert content(out) == content(tmp_path / "whole")


def test_writing_the_state_takes_a_twentieth_of_the_time_at_most(monkeypatch):
    now = 0.0
    monkeypatch.setattr(statistics_run_module.time, "monotonic", lambda: now)
    cadence, written = statistics_run_module._Cadence(60.0), []
    for now in map(float, range(2000)):  # a chunk a second, and 10 seconds for each write
        if written and now < written[-1] + 10:
            continue
        if cadence.is_due():
            written.append(now)
            now += 10
            cadence.note_written()
    assert written[0] == 60
    assert {b - a for a, b in itertools.pairwise(written)} == {210.0}


def test_a_cadence_of_nothing_writes_every_time():
    cadence = statistics_run_module._Cadence(0.0)
    for _ in range(3):
        assert cadence.is_due()
        time.sleep(0.01)
        cadence.note_written()
