"""A run goes on from wherever it was stopped, finds the same, and refuses a folder that is not its own."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from knowedit.errors import FileFormatError, InputError
from knowedit.runs import Journal
from knowedit.tracing import (
    AverageTrace,
    GaussianNoise,
    KnownFact,
    TracePlan,
    TraceProgress,
    TraceRun,
    UnpredictedAnswer,
    Window,
    average,
)
from knowedit.tracing.trace_run import AVERAGE, MANIFEST, RECORDS

FACTS = (
    KnownFact("Marie Curie is in the city of", "Marie Curie", "Paris"),
    KnownFact("Paris is Paris in", "Paris", "Poland"),  # fails: the subject stands there twice
    KnownFact("Miles Davis plays the", "Miles Davis", "piano"),
    KnownFact("Edmund Neupert", "Edmund Neupert", "French"),
)
PLAN = TracePlan(draws=2, corruption=GaussianNoise(0.5))


@pytest.fixture(scope="module")
def whole(tiny_gpt2, tmp_path_factory):
    """The folder of a run that was not interrupted, and its result."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, TraceRun(folder, tiny_gpt2, FACTS, PLAN).measure()


def content(folder):
    return {name: (folder / name).read_bytes() for name in (MANIFEST, RECORDS, AVERAGE)}


def test_the_average_is_that_of_the_facts_that_could_be_traced(whole, tiny_gpt2):
    folder, result = whole
    with pytest.warns(UnpredictedAnswer):
        expected = average(PLAN.trace(tiny_gpt2, fact) for fact in FACTS if fact is not FACTS[1])
    for name in ("mean", "low", "high", "counts", "baselines"):
        assert np.array_equal(getattr(result.average, name), getattr(expected, name), equal_nan=True)
    assert result.average.setting == expected.setting
    assert (result.average.clean, result.average.n_facts) == (expected.clean, 3)
    assert np.array_equal(AverageTrace.load(folder / AVERAGE).mean, expected.mean)


def test_a_fact_that_fails_is_recorded_with_its_error(whole):
    _, result = whole
    assert list(result.failures) == [1]
    assert "stands 2 times" in result.failures[1]
    assert [summary is None for summary in result.summaries] == [False, True, False, False]


class Stop(BaseException):
    """As Ctrl-C: no error that a run could take for a fact's own."""


@pytest.mark.parametrize("seed", range(6))
def test_a_run_that_is_stopped_anywhere_goes_on_to_the_same_bytes(tiny_gpt2, tmp_path, whole, seed):
    rng = random.Random(seed)
    run = TraceRun(tmp_path / "run", tiny_gpt2, FACTS, PLAN)
    last = rng.randrange(4)

    def stop(now: TraceProgress) -> None:
        if now.done == last:
            raise Stop

    with pytest.raises(Stop):
        run.measure(stop)
    records = run.folder / RECORDS
    data = records.read_bytes()
    records.write_bytes(data[: rng.randrange(len(data) + 1)])  # and the last line was not written to its end
    run.measure()
    assert content(run.folder) == content(whole[0])


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import warnings
warnings.simplefilter("ignore")
from knowedit.models import load
from tests.conftest import make_model, make_tokenizer
from tests.tracing.test_trace_run import FACTS, PLAN
from knowedit.tracing import TraceRun

def die(now):
    if now.done == 3:
        os.kill(os.getpid(), signal.SIGKILL)

TraceRun(Path(sys.argv[2]), load((make_model("gpt2"), make_tokenizer())), FACTS, PLAN).measure(die)
"""


def test_a_process_that_is_killed_leaves_its_facts_and_no_lock(tiny_gpt2, tmp_path, whole):
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(root), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert len((tmp_path / RECORDS).read_bytes().splitlines()) == 3
    seen: list[TraceProgress] = []
    TraceRun(tmp_path, tiny_gpt2, FACTS, PLAN).measure(seen.append)
    assert seen[0] == TraceProgress(3, 4, 1)
    assert (tmp_path / MANIFEST).read_bytes() == (whole[0] / MANIFEST).read_bytes()


def test_what_is_done_is_not_measured_again(whole, tiny_gpt2, monkeypatch):
    monkeypatch.setattr(TracePlan, "trace", None)
    seen: list[TraceProgress] = []
    TraceRun(whole[0], tiny_gpt2, FACTS, replace(PLAN, memory=2**24)).measure(seen.append)
    assert seen == [TraceProgress(4, 4, 1)]


def test_progress(tiny_gpt2, tmp_path):
    seen: list[TraceProgress] = []
    TraceRun(tmp_path, tiny_gpt2, FACTS[:2], PLAN).measure(seen.append)
    assert seen == [TraceProgress(0, 2, 0), TraceProgress(1, 2, 0), TraceProgress(2, 2, 1)]


def test_a_fact_has_the_same_result_in_any_list(tiny_gpt2, tmp_path, whole):
    result = TraceRun(tmp_path, tiny_gpt2, FACTS[::-1], PLAN).measure()
    for own, other in zip(result.summaries[::-1], whole[1].summaries, strict=True):
        if own is None or other is None:
            assert own is other
        else:
            assert own.to_json() == other.to_json()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"plan": replace(PLAN, seed=1)}, "seed is 0 there and 1 here"),
        ({"plan": replace(PLAN, part="mlp")}, "part is hidden"),
        ({"plan": replace(PLAN, window=Window(1, 0))}, "window"),
        ({"plan": replace(PLAN, corruption=GaussianNoise(0.4))}, "corruption"),
        ({"plan": replace(PLAN, draws=3)}, "draws is 2"),
        ({"plan": replace(PLAN, sever="mlp")}, "sever"),
        ({"facts": FACTS[:3]}, "facts is 4 there and 3 here"),
        ({"facts": FACTS[::-1]}, "facts_sha256"),
    ],
)
def test_a_folder_of_another_run_is_refused(whole, tiny_gpt2, change, named):
    before = content(whole[0])
    with pytest.raises(InputError, match=f"belongs to another run.*{named}"):
        replace(TraceRun(whole[0], tiny_gpt2, FACTS, PLAN), **change).measure()
    assert content(whole[0]) == before


def test_a_folder_of_another_model_is_refused(whole, fresh_lm):
    with pytest.raises(InputError, match="belongs to another run: model is"):
        TraceRun(whole[0], fresh_lm("gpt2", seed=5), FACTS, PLAN).measure()


def test_a_second_runner_is_refused_until_the_first_has_ended(tiny_gpt2, tmp_path):
    run = TraceRun(tmp_path, tiny_gpt2, FACTS[:1], PLAN)

    def another(_: TraceProgress) -> None:
        with pytest.raises(InputError, match="another process writes to"):
            run.measure()

    run.measure(another)
    run.measure()


def test_bad_requests_leave_no_folder(tiny_gpt2, tmp_path):
    folder = tmp_path / "new"
    with pytest.raises(InputError, match="no facts to trace"):
        TraceRun(folder, tiny_gpt2, (), PLAN).measure()
    with pytest.raises(InputError, match="larger than the model"):
        TraceRun(folder, tiny_gpt2, FACTS, replace(PLAN, window=Window(9, 9))).measure()
    assert not folder.exists()
    folder.write_text("a file")
    with pytest.raises(InputError, match="cannot be made"):
        TraceRun(folder, tiny_gpt2, FACTS, PLAN).measure()


def test_all_facts_fail(tiny_gpt2, tmp_path):
    with pytest.raises(InputError, match=r"none of 1 facts could be traced; the first: .*stands 2 times"):
        TraceRun(tmp_path, tiny_gpt2, FACTS[1:2], PLAN).measure()
    assert not (tmp_path / AVERAGE).exists()


def damaged(whole, tmp_path, name, data):
    for own, value in (content(whole[0]) | {name: data}).items():
        if value is not None:
            (tmp_path / own).write_bytes(value)


@pytest.mark.parametrize("data", [b"", b"[]", b"\xff", b"{}", b'{"kind": "knowedit.trace_run", "schema": 2}'])
def test_damaged_manifests(whole, tiny_gpt2, tmp_path, data):
    damaged(whole, tmp_path, MANIFEST, data)
    with pytest.raises(FileFormatError, match="give another folder"):
        TraceRun(tmp_path, tiny_gpt2, FACTS, PLAN).measure()


def test_records_without_a_manifest(whole, tiny_gpt2, tmp_path):
    damaged(whole, tmp_path, MANIFEST, None)
    with pytest.raises(InputError, match="records and no manifest"):
        TraceRun(tmp_path, tiny_gpt2, FACTS, PLAN).measure()


@pytest.mark.parametrize("change", [(b"0.", b"1."), (b"{", b""), (b'"sha256"', b'"sha255"')], ids=str)
def test_a_damaged_line_is_named(whole, tiny_gpt2, tmp_path, change):
    lines = (whole[0] / RECORDS).read_bytes().splitlines(keepends=True)
    lines[2] = lines[2].replace(*change, 1)
    damaged(whole, tmp_path, RECORDS, b"".join(lines))
    with pytest.raises(FileFormatError, match=r"line 3 of .*measure them again"):
        TraceRun(tmp_path, tiny_gpt2, FACTS, PLAN).measure()


def test_records_that_are_none_of_ours(whole, tiny_gpt2, tmp_path):
    damaged(whole, tmp_path, RECORDS, b"")
    with Journal(tmp_path / RECORDS, "restore it") as journal:
        for _ in FACTS:
            journal.append({"clean": 1.0})
    with pytest.raises(FileFormatError, match="wrong entries"):
        TraceRun(tmp_path, tiny_gpt2, FACTS, PLAN).measure()
    with Journal(tmp_path / RECORDS, "restore it") as journal:
        journal.append({"clean": 1.0})
    with pytest.raises(FileFormatError, match="5 records of 4 facts"):
        TraceRun(tmp_path, tiny_gpt2, FACTS, PLAN).measure()


def test_the_manifest_says_what_was_run(whole, tiny_gpt2):
    found = json.loads((whole[0] / MANIFEST).read_text(encoding="utf-8"))
    assert found["names"] == {"model": tiny_gpt2.name, "dtype": "float32"}
    assert found["run"]["corruption"] == {"kind": "gaussian", "std": 0.5}
    assert "memory" not in found["run"]
