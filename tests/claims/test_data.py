"""Table 1 as a claim: on the real data where they are at hand, and on invented records always."""

import json
import os
from pathlib import Path

import pytest

from claims import data
from claims.models import Missing
from claims.record import failures, load_record
from claims.registry import DATA
from claims.run import without_models
from claims.settings import Settings
from claims.verdicts import Verdict
from knowedit.evaluation import Record
from knowedit.evaluation.records.counts import Table1
from tests.evaluation.samples import nested

(CLAIM,) = data.SECTION.claims


@pytest.mark.skipif(
    "KNOWEDIT_DATA" not in os.environ, reason="KNOWEDIT_DATA names no folder with COUNTERFACT"
)
def test_the_real_counts_hold_and_the_control_misses_each() -> None:
    (result,) = without_models([data.SECTION], Settings())
    assert result.verdict is Verdict.HOLDS
    assert failures([result], load_record(), [data.SECTION], Settings()) == []


def test_without_the_data_nothing_fails_and_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(data.VARIABLE, raising=False)
    (result,) = without_models([data.SECTION], Settings())
    assert (result.verdict, result.model) == (Verdict.NOT_MEASURED, DATA)
    assert "set KNOWEDIT_DATA" in result.reason
    assert failures([result], load_record(), [data.SECTION], Settings()) == []
    monkeypatch.setenv(data.VARIABLE, "nowhere")
    with pytest.raises(Missing):
        data.gather(Settings())


def test_other_counts_contradict_the_claim_and_fail_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / data.FILE
    path.parent.mkdir()
    path.write_text("\n".join(json.dumps(nested(i)) for i in range(30)), encoding="utf-8")
    monkeypatch.setenv(data.VARIABLE, str(tmp_path))
    (result,) = without_models([data.SECTION], Settings())
    assert result.verdict is Verdict.CONTRADICTED
    assert result.measured is not None
    assert result.measured.value.mean == 21919 - 30
    assert len(failures([result], load_record(), [data.SECTION], Settings())) == 1


def test_one_count_that_the_control_does_not_miss_is_enough_to_break_it() -> None:
    rows = Table1().add_all(Record.from_json(nested(i)) for i in range(40)).rows()
    spoiled = Table1().add_all(data.spoil(Record.from_json(nested(i)) for i in range(40))).rows()
    for old, new in zip(rows[:4], spoiled[:4], strict=True):
        assert (old.name, old.total) != (new.name, new.total)
    assert data.measure(data.Evidence(rows, rows)).control.mean == min(data.differences(rows))
