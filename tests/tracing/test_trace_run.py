"""A run resumes from wherever it was stopped, finds the same, and refuses a folder that is not its own."""

from __future__ import annotations

import json
import os
import random
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch

from knowedit.errors import FileFormatError, InputError
from knowedit.runs import MANIFEST, sealed
from knowedit.runs.folder import RECORDS
from knowedit.tracing import (
    AverageTrace,
    GaussianNoise,
    KnownFact,
    TraceRun,
    TraceSettings,
    UnpredictedAnswer,
    Window,
    average,
)
from knowedit.tracing.trace_run import AVERAGE

FACTS = (
    KnownFact("Marie Curie is in the city of", "Marie Curie", "Paris"),
    KnownFact("Paris is Paris in", "Paris", "Poland"),  # fails: the subject occurs twice
    KnownFact("Miles Davis plays the", "Miles Davis", "piano"),
    KnownFact("Edmund Neupert", "Edmund Neupert", "French"),
)
SETTINGS = TraceSettings(draws=2, corruption=GaussianNoise(0.5))


@pytest.fixture(scope="module")
def whole(tiny_gpt2, tmp_path_factory):
    """A run that was not interrupted, and its average."""
    run = TraceRun(tmp_path_factory.mktemp("whole"), tiny_gpt2, FACTS, SETTINGS)
    return run, run.run()


def content(folder):
    return {name: (folder / name).read_bytes() for name in (MANIFEST, RECORDS, AVERAGE)}


def test_the_average_is_that_of_the_facts_that_could_be_traced(whole, tiny_gpt2):
    run, found = whole
    with pytest.warns(UnpredictedAnswer):
        expected = average(fact.trace(tiny_gpt2, SETTINGS) for fact in FACTS if fact is not FACTS[1])
    for name in ("mean", "low", "high", "counts", "baselines"):
        assert np.array_equal(getattr(found, name), getattr(expected, name), equal_nan=True)
    assert (found.settings, found.model, found.digest) == (
        expected.settings,
        expected.model,
        expected.digest,
    )
    assert (found.clean, found.n_facts) == (expected.clean, 3)
    assert np.array_equal(AverageTrace.load(run.folder / AVERAGE).mean, expected.mean)


def test_a_fact_that_fails_is_recorded_with_its_error(whole):
    run, _ = whole
    assert list(run.failures) == [1]
    assert "2 times" in run.failures[1]
    assert [summary is None for summary in run.summaries] == [False, True, False, False]


class Stop(BaseException):
    """As Ctrl-C: no error that a run could take for a fact's own."""


@pytest.mark.parametrize("seed", range(6))
def test_a_run_that_is_stopped_anywhere_resumes_to_the_same_bytes(tiny_gpt2, tmp_path, whole, seed):
    rng = random.Random(seed)
    run = TraceRun(tmp_path / "run", tiny_gpt2, FACTS, SETTINGS)
    last = rng.randrange(4)

    def stop(done: int, total: int, failed: int) -> None:
        if done == last:
            raise Stop

    with pytest.raises(Stop):
        run.run(stop)
    records = run.folder / RECORDS
    if last:
        data = records.read_bytes()  # and the last line was not written to its end
        records.write_bytes(data[: rng.randrange(len(data) + 1)])
    run.run()
    assert content(run.folder) == content(whole[0].folder)


@pytest.mark.parametrize("left", range(4))
def test_blocks_of_several_facts_give_the_same_lines(tiny_gpt2, tmp_path, whole, monkeypatch, left):
    """Also where a block was written in part."""
    monkeypatch.setattr("knowedit.tracing.trace_run.BLOCK", 3)
    run, seen = TraceRun(tmp_path / "run", tiny_gpt2, FACTS, SETTINGS), []
    run.run()
    records = run.folder / RECORDS
    lines = records.read_bytes().splitlines(keepends=True)
    records.write_bytes(b"".join(lines[:left]))
    run.run(lambda *now: seen.append(now[0]))
    assert records.read_bytes() == (whole[0].folder / RECORDS).read_bytes()
    assert seen == sorted({left, 3, 4})
    with pytest.raises(InputError, match="block is 1 there and 3 here"):
        TraceRun(whole[0].folder, tiny_gpt2, FACTS, SETTINGS).run()


def die(done: int, total: int, failed: int) -> None:
    if done == 3:
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_that_is_killed_leaves_its_facts_and_no_lock(tiny_gpt2, tmp_path, whole):
    run = TraceRun(tmp_path, tiny_gpt2, FACTS, SETTINGS)
    child = os.fork()
    if child == 0:
        try:
            torch.set_num_threads(1)  # a fork has none of the others
            run.run(die)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert len((tmp_path / RECORDS).read_bytes().splitlines()) == 3
    seen = []
    TraceRun(tmp_path, tiny_gpt2, FACTS, SETTINGS).run(lambda *now: seen.append(now))
    assert seen[0] == (3, 4, 1)
    assert (tmp_path / MANIFEST).read_bytes() == (whole[0].folder / MANIFEST).read_bytes()


def test_what_is_done_is_not_measured_again(whole, tiny_gpt2, monkeypatch):
    monkeypatch.setattr(KnownFact, "trace", None)
    seen = []
    TraceRun(whole[0].folder, tiny_gpt2, FACTS, SETTINGS, memory=2**24).run(lambda *now: seen.append(now))
    assert seen == [(4, 4, 1)]


def test_progress(tiny_gpt2, tmp_path):
    seen = []
    TraceRun(tmp_path, tiny_gpt2, FACTS[:2], SETTINGS).run(lambda *now: seen.append(now))
    assert seen == [(0, 2, 0), (1, 2, 0), (2, 2, 1)]


def test_a_fact_has_the_same_result_in_any_list(tiny_gpt2, tmp_path, whole):
    run = TraceRun(tmp_path, tiny_gpt2, FACTS[::-1], SETTINGS)
    run.run()
    for own, other in zip(run.summaries[::-1], whole[0].summaries, strict=True):
        if own is None or other is None:
            assert own is other
        else:
            assert own.to_json() == other.to_json()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"seed": 1}, "seed is 0 there and 1 here"),
        ({"settings": replace(SETTINGS, part="mlp")}, "part is hidden"),
        ({"settings": replace(SETTINGS, window=Window(1, 0))}, "window"),
        ({"settings": replace(SETTINGS, corruption=GaussianNoise(0.4))}, "corruption"),
        ({"settings": replace(SETTINGS, draws=3)}, "draws is 2"),
        ({"settings": replace(SETTINGS, sever="mlp")}, "sever"),
        ({"facts": FACTS[:3]}, "facts is 4 there and 3 here"),
        ({"facts": FACTS[::-1]}, "facts_sha256"),
    ],
)
def test_a_folder_of_another_run_is_refused(whole, tiny_gpt2, change, named):
    before = content(whole[0].folder)
    with pytest.raises(InputError, match=f"belongs to another run.*{named}"):
        TraceRun(whole[0].folder, tiny_gpt2, **({"facts": FACTS, "settings": SETTINGS} | change)).run()
    assert content(whole[0].folder) == before


def test_a_folder_of_another_model_is_refused(whole, fresh_lm):
    with pytest.raises(InputError, match="belongs to another run: model is"):
        TraceRun(whole[0].folder, fresh_lm("gpt2", seed=5), FACTS, SETTINGS).run()


def test_a_second_runner_is_refused_until_the_first_has_ended(tiny_gpt2, tmp_path):
    run = TraceRun(tmp_path, tiny_gpt2, FACTS[:1], SETTINGS)

    def another(done: int, total: int, failed: int) -> None:
        with pytest.raises(InputError, match="another process is writing to"):
            run.run()

    run.run(another)
    run.run()


def test_bad_requests_leave_no_folder(tiny_gpt2, tmp_path):
    folder = tmp_path / "new"
    with pytest.raises(InputError, match="no facts to trace"):
        TraceRun(folder, tiny_gpt2, (), SETTINGS).run()
    with pytest.raises(InputError, match="larger than the model"):
        TraceRun(folder, tiny_gpt2, FACTS, replace(SETTINGS, window=Window(9, 9))).run()
    assert not folder.exists()
    folder.write_text("a file")
    with pytest.raises(InputError, match="cannot be written"):
        TraceRun(folder, tiny_gpt2, FACTS, SETTINGS).run()


def test_all_facts_fail(tiny_gpt2, tmp_path):
    with pytest.raises(InputError, match=r"none of 1 facts could be traced; the first: .*2 times"):
        TraceRun(tmp_path, tiny_gpt2, FACTS[1:2], SETTINGS).run()
    assert not (tmp_path / AVERAGE).exists()


def damaged(whole, tmp_path, name, data):
    for own, value in (content(whole[0].folder) | {name: data}).items():
        if value is not None:
            (tmp_path / own).write_bytes(value)


@pytest.mark.parametrize("data", [b"", b"[]", b"\xff", b"{}", b'{"kind": "knowedit.trace_run", "schema": 3}'])
def test_damaged_manifests(whole, tiny_gpt2, tmp_path, data):
    damaged(whole, tmp_path, MANIFEST, data)
    with pytest.raises(FileFormatError, match=r"give another folder|is not UTF-8"):
        TraceRun(tmp_path, tiny_gpt2, FACTS, SETTINGS).run()


def test_records_without_a_manifest(whole, tiny_gpt2, tmp_path):
    damaged(whole, tmp_path, MANIFEST, None)
    with pytest.raises(InputError, match=r"holds average.safetensors and no manifest"):
        TraceRun(tmp_path, tiny_gpt2, FACTS, SETTINGS).run()


@pytest.mark.parametrize("change", [(b"0.", b"1."), (b"{", b""), (b'"sha256"', b'"sha255"')], ids=str)
def test_a_damaged_line_is_named(whole, tiny_gpt2, tmp_path, change):
    lines = (whole[0].folder / RECORDS).read_bytes().splitlines(keepends=True)
    lines[2] = lines[2].replace(*change, 1)
    damaged(whole, tmp_path, RECORDS, b"".join(lines))
    with pytest.raises(FileFormatError, match=r"line 3 of .*trace them again"):
        TraceRun(tmp_path, tiny_gpt2, FACTS, SETTINGS).run()


def test_records_that_are_none_of_ours(whole, tiny_gpt2, tmp_path):
    line = sealed({"clean": 1.0})
    damaged(whole, tmp_path, RECORDS, len(FACTS) * line)
    with pytest.raises(FileFormatError, match="wrong entries"):
        TraceRun(tmp_path, tiny_gpt2, FACTS, SETTINGS).run()
    damaged(whole, tmp_path, RECORDS, (len(FACTS) + 1) * line)
    with pytest.raises(FileFormatError, match="5 records of 4 facts"):
        TraceRun(tmp_path, tiny_gpt2, FACTS, SETTINGS).run()


def test_the_manifest_says_what_was_run(whole, tiny_gpt2):
    found = json.loads((whole[0].folder / MANIFEST).read_text(encoding="utf-8"))
    assert found["names"] == {"model": tiny_gpt2.name, "dtype": "float32"}
    assert found["run"]["corruption"] == {"kind": "gaussian", "std": 0.5}
    assert "memory" not in found["run"]
    assert found["run"]["block"] == 1
