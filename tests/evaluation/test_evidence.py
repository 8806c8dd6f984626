"""What makes a run folder evidence: each way to spoil one is found."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from knowedit.errors import FileFormatError, InputError
from knowedit.evaluation import Record, RecordScores, Run, Stale, read_run, verify
from knowedit.evaluation.runs.evidence import Verified, require_alike
from knowedit.evaluation.runs.run import RECORDS
from tests.claims.runs import FakeStation, make_records, make_run, scores

ALL = make_records()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_run(tmp_path / "m" / "none", FakeStation(), ALL)
    return tmp_path / "m" / "none"


def checked(folder: Path, station: FakeStation | None = None, records: list[Record] = ALL) -> Verified:
    return verify(read_run(folder, whole=True), station or FakeStation(), records, sample=len(ALL), seed=0)


def test_a_run_that_is_found_again_is_evidence(folder: Path) -> None:
    seen: list[tuple[int, int]] = []
    run = read_run(folder, whole=True)
    found = verify(run, FakeStation(), ALL, 5, 0, lambda done, of: seen.append((done, of)))
    assert (found.run.digest, len(found.cases), found.same_texts) == (run.digest, 5, 5)
    assert found.reproduced
    assert seen == [(done, 5) for done in range(1, 6)]
    assert verify(run, FakeStation(), ALL, 5, 1).cases != found.cases


# The folder


def test_an_unfinished_run_is_refused(folder: Path) -> None:
    lines = (folder / RECORDS).read_bytes().splitlines(keepends=True)
    (folder / RECORDS).write_bytes(b"".join(lines[:-3]))
    with pytest.raises(InputError, match="m/none is not finished: 3 of 12 records are not measured"):
        checked(folder)
    (folder / RECORDS).write_bytes(b"".join(lines)[:-20])
    with pytest.raises(FileFormatError, match=r"line 12 of .* is not as it was written"):
        checked(folder)


@pytest.mark.parametrize("line", [0, 5, 11])
def test_a_changed_line_is_found_also_the_last(folder: Path, line: int) -> None:
    lines = (folder / RECORDS).read_text().splitlines(keepends=True)
    lines[line] = lines[line].replace("0.9", "0.8", 1)
    (folder / RECORDS).write_text("".join(lines))
    with pytest.raises(FileFormatError, match=f"line {line + 1} of .* is not as it was written"):
        read_run(folder, whole=True)


# Today's question


@pytest.mark.parametrize("part", ["settings", "scores"])
@pytest.mark.parametrize("version", [2, None])
def test_another_version_is_stale_whatever_else_differs(folder: Path, part: str, version: int | None) -> None:
    changed = {"model": "x", part: {"layer": 6, "version": version}}
    words = f"m/none was measured by version 1 of its {part}, and today's is {version}: measure again"
    with pytest.raises(Stale, match=words):
        checked(folder, FakeStation(changed=changed))


def test_scores_that_changed_while_the_version_did_not_are_found(folder: Path) -> None:
    with pytest.raises(
        InputError, match=r"was not found again: .*raise the version of the editor or the scores"
    ):
        checked(folder, FakeStation(of=lambda record: scores(record, paraphrases=0.89)))


def test_sums_of_the_same_tokens_may_be_rounded_otherwise(tmp_path: Path) -> None:
    def changed(tokens: int, digest: str) -> dict[str, Any]:
        statistics = {"tokens": tokens, "sha256": digest}
        return {"settings": {"layer": 5, "version": 1, "statistics": statistics}}

    make_run(tmp_path / "m" / "none", FakeStation(changed=changed(9, "a")), ALL)
    assert checked(tmp_path / "m" / "none", FakeStation(changed=changed(9, "b"))).reproduced
    with pytest.raises(InputError, match="settings statistics tokens is 9 there and 8 here"):
        checked(tmp_path / "m" / "none", FakeStation(changed=changed(8, "a")))


def test_other_records_are_refused(folder: Path) -> None:
    other = [*ALL[:-1], replace(ALL[-1], fact=replace(ALL[-1].fact, subject="Another"))]
    for records in (other, ALL[:-1]):
        with pytest.raises(InputError, match="m/none is about other records than the model's first"):
            checked(folder, records=records)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"model": "n"}, "model is m+ there and n here"),
        ({"settings": {"layer": 6, "version": 1}}, "settings layer is 5 there and 6 here"),
        ({"seed": 1}, "seed is 0 there and 1 here"),
        ({"scores": {"probability": "per-token", "version": 1}}, "scores probability"),
        ({"dtype": "bfloat16"}, "dtype"),
        ({"method": "FT"}, "method"),
    ],
)
def test_another_model_or_setting_is_refused(folder: Path, changed: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=f"m/none was measured otherwise: {words}"):
        checked(folder, FakeStation(changed=changed))


def test_another_machine_is_allowed(folder: Path) -> None:
    assert checked(folder, FakeStation(changed={"versions": {"torch": "3"}, "device": "cuda"})).reproduced


def test_lines_of_records_that_are_not_there_are_refused(folder: Path) -> None:
    run = read_run(folder, whole=True)
    moved = replace(run, outcomes=(replace(run.outcomes[0], case_id=999), *run.outcomes[1:]))
    with pytest.raises(ValueError, match="lines of other case ids"):
        verify(moved, FakeStation(), ALL, 3, 0)


# The sample


def spoiled(case: int, **changed: float) -> Callable[[Record], RecordScores]:
    return lambda record: scores(record, **(changed if record.case_id == case else {}))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"prompt": 0.9 - 2e-3}, "record 14: a probability differs by 0.002"),
        ({"neighborhood": 0.1 + 2e-3}, "record 14: a probability differs by 0.002"),
        ({"paraphrases": float("nan")}, "record 14: a probability differs by nan"),
        ({"essence": -31.0}, "record 14: Essence was 4.482 and is 4.711"),
    ],
)
def test_what_follows_from_the_model_must_agree(folder: Path, changed: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError, match=f"m/none was not found again: {words}"):
        checked(folder, FakeStation(of=spoiled(14, **changed)))


def test_rounding_is_allowed(folder: Path) -> None:
    close = {"prompt": 0.9 + 5e-4, "neighborhood": 0.1 - 5e-4, "essence": -30.05, "entropy": 5 + 1e-9}
    assert checked(folder, FakeStation(of=lambda record: scores(record, **close))).reproduced


def test_a_record_that_failed_only_once_is_found(folder: Path) -> None:
    def fails(record: Record) -> RecordScores:
        return scores(record, prompt=1 / (record.case_id - 21))

    with pytest.raises(ValueError, match="record 21 failed only once"):
        checked(folder, FakeStation(of=fails))


def test_other_columns_are_found(folder: Path) -> None:
    def without_texts(record: Record) -> RecordScores:
        return replace(scores(record), texts=None)

    with pytest.raises(ValueError, match="other columns are measured"):
        checked(folder, FakeStation(of=without_texts))


def test_another_number_of_prompts_is_found(folder: Path) -> None:
    def fewer(record: Record) -> RecordScores:
        return replace(scores(record), paraphrases=None)

    with pytest.raises(ValueError, match="26 probabilities were 22 now"):
        checked(folder, FakeStation(of=fewer))


def test_drawn_texts_may_be_others_but_not_on_average(folder: Path) -> None:
    def reversed_texts(record: Record) -> RecordScores:
        mirror = next(other for other in ALL if other.case_id == 77 - record.case_id)
        return replace(scores(record), texts=scores(mirror).texts)

    found = checked(folder, FakeStation(of=reversed_texts))
    assert found.same_texts == 0
    assert not found.reproduced
    for name, shift in (("entropy", 5.5), ("consistency", 0.4)):
        with pytest.raises(ValueError, match=r"the mean (GE|RS) of 12 records was"):
            checked(
                folder, FakeStation(of=lambda record, name=name, shift=shift: scores(record, **{name: shift}))
            )


def test_a_processor_draws_all_texts_alike() -> None:
    run = Run(Path("m/ft"), {}, ())
    same, other = Verified(run, (1, 2, 3, 4), 4), Verified(run, (1, 2, 3, 4), 2)
    require_alike([same, same])
    require_alike([other, other])
    with pytest.raises(ValueError, match="m/ft was not found again: of 4 texts 2 came out the same"):
        require_alike([same, other])


def test_a_line_that_was_changed_and_sealed_again_is_found_by_the_sample(folder: Path) -> None:
    run = read_run(folder, whole=True)
    better = json.loads(json.dumps(run.outcomes[3].scores))
    better["paraphrases"]["new"][1] = 0.99
    forged = tuple(replace(one, scores=better) if one is run.outcomes[3] else one for one in run.outcomes)
    with pytest.raises(ValueError, match=r"a probability differs by 0\.09"):
        verify(replace(run, outcomes=forged), FakeStation(), ALL, len(ALL), 0)
