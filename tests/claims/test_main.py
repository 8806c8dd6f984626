"""The command line on fake claims: exit codes, the files written, and what is printed."""

import json
from pathlib import Path
from typing import Any

import pytest

from claims import __main__ as command
from claims import run
from claims.models import Missing
from claims.registry import MATRICES
from claims.settings import Settings
from claims.verdicts import Verdict
from tests.claims.fakes import around, fake_claim, fake_section, raising

HOLDS = {"verdict": "HOLDS", "explanation": "Fakes always do."}


@pytest.fixture(autouse=True)
def no_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "bundled_models", dict)


def go(
    folder: Path, *claims: Any, record: Any = None, arguments: tuple[str, ...] = (), **section: Any
) -> int:
    path = folder / "record.json"
    path.write_text(json.dumps(record if record is not None else {"fake.holds": {MATRICES: HOLDS}}))
    sections = [fake_section(*(claims or [fake_claim()]), **section)]
    return command.main(["--out", str(folder), *arguments], sections, path)


def report(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "claims-report.json").read_text(encoding="utf-8"))
    return found


def test_a_run_as_on_record_exits_with_zero(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert go(tmp_path) == 0
    printed = capsys.readouterr().out
    for part in ("fake.holds", "Table 9", "95.0 % [94.0, 96.0], n = 10", "99.9", "≥ 90 %", "5.0 %", "HOLDS"):
        assert part in printed


def test_a_difference_from_the_record_exits_with_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert go(tmp_path, fake_claim(value=around(50.0))) == 1
    assert "on record as HOLDS and was found CONTRADICTED" in capsys.readouterr().out
    assert report(tmp_path)["failures"]


def test_a_control_that_passes_exits_with_one(tmp_path: Path) -> None:
    assert go(tmp_path, fake_claim(control=around(95.0))) == 1
    (result,) = report(tmp_path)["results"]
    assert result["verdict"] == "ERROR"
    assert "control did not fail" in result["reason"]


def test_a_theorem_that_fails_exits_with_one_whatever_is_on_record(tmp_path: Path) -> None:
    record = {"fake.holds": {MATRICES: {"verdict": "CONTRADICTED", "explanation": "It was so before."}}}
    assert go(tmp_path, fake_claim(value=around(50.0)), record=record) == 0
    assert go(tmp_path, fake_claim(value=around(50.0)), record=record, proved=True) == 1


@pytest.mark.parametrize("where", ["gather", "measure"])
def test_an_exception_is_an_error_of_the_claim_only(
    tmp_path: Path, where: str, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = raising(ZeroDivisionError("by\nzero"))
    if where == "gather":
        code = go(tmp_path, gather=broken)
    else:
        code = go(tmp_path, fake_claim("broken", measure=broken), fake_claim())
    first, *others = report(tmp_path)["results"]
    assert (code, first["verdict"], first["reason"]) == (1, "ERROR", "ZeroDivisionError: by zero")
    assert [other["verdict"] for other in others] == ["HOLDS"] * len(others)
    assert capsys.readouterr().err.count("Traceback") == 1


def test_the_json_holds_everything(tmp_path: Path) -> None:
    go(tmp_path, arguments=("--facts", "7", "--seed", "3", "--full", "--noise", "1.5"))
    found = report(tmp_path)
    none = {"records": None, "statistics": None, "evidence": None}
    assert found["settings"] == {"facts": 7, "seed": 3, "device": "cpu", **none, "full": True, "noise": 1.5}
    assert found["summary"] == "Results: 1 HOLDS; nothing to look into."
    (result,) = found["results"]
    assert result["measured"]["value"] == {"mean": 95.0, "low": 94.0, "high": 96.0, "n": 10, "method": ""}
    assert result["measured"]["control"]["mean"] == 5.0
    assert result["expectation"] == {"direction": "at least", "bound": 90.0}
    assert result["on_record"] == HOLDS | {"full": None}


def test_the_markdown_is_to_be_read(tmp_path: Path) -> None:
    go(tmp_path)
    text = (tmp_path / "claims-report.md").read_text(encoding="utf-8")
    for part in (
        "# The paper's claims, measured\n\nResults: 1 HOLDS; nothing to look into.",
        "## Section 9: fakes\n\nNothing was done.\n\n| Claim |",
        "| fake.holds | Table 9 | random matrices | 95.0 % [94.0, 96.0], n = 10 | 99.9 | ≥ 90 % | 5.0 % | HOLDS |",
        "- **fake.holds**: A fake claim holds.",
        "random matrices: 10.0 % before. Fakes always do.",
    ):
        assert part in text


def test_nothing_but_the_report_is_written(tmp_path: Path) -> None:
    go(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "record.json",
        "claims-report.json",
        "claims-report.md",
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--only", "rome"), "no claim starts with 'rome': there are fake.holds"),
        (("--device", "abacus"), "the device 'abacus' is none that torch knows"),
        (("--out", "/no/such/folder"), "there is no folder"),
    ],
)
def test_a_wrong_argument_is_refused_before_anything_is_measured(
    tmp_path: Path, arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert go(tmp_path, arguments=arguments, gather=raising(AssertionError("measured"))) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_one_fact_is_too_few_for_an_interval(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        command.main(["--facts", "1"])
    assert "too few" in capsys.readouterr().err


def test_the_number_of_threads_on_record_can_be_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert go(tmp_path, arguments=("--threads", "1")) == 0
    with pytest.raises(SystemExit, match="2"):
        command.main(["--threads", "0"])
    assert "too few" in capsys.readouterr().err


@pytest.mark.parametrize("noise", ["0", "-1", "nan", "inf", "much"])
def test_noise_is_a_positive_number(noise: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        command.main([f"--noise={noise}"])
    assert "--noise" in capsys.readouterr().err


def test_an_interrupted_run_writes_no_report(tmp_path: Path) -> None:
    assert go(tmp_path, measure_interrupted()) == 130
    assert not list(tmp_path.glob("claims-report*"))


def measure_interrupted() -> Any:
    def measure(evidence: Any) -> Any:
        raise KeyboardInterrupt

    return fake_claim(measure=measure)


def test_what_is_missing_is_said_for_each_claim(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "open_model", raising(Missing("no weights here")))
    sections = [fake_section(fake_claim("a"), fake_claim("b"), fake_claim("c", on_models=False))]
    found = run.on_model("gpt2-xl", sections, Settings(), lambda done, of: None)
    assert [(result.claim, result.verdict, result.reason) for result in found] == [
        ("fake.a", Verdict.NOT_MEASURED, "no weights here"),
        ("fake.b", Verdict.NOT_MEASURED, "no weights here"),
    ]


def test_records_that_are_missing_leave_the_other_section(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "open_model", lambda source, settings: None)
    sections = [
        fake_section(fake_claim("a"), gather=raising(Missing("no records"))),
        fake_section(fake_claim("b")),
    ]
    found = run.on_model("gpt2-xl", sections, Settings(), lambda done, of: None)
    assert [result.verdict for result in found] == [Verdict.NOT_MEASURED, Verdict.HOLDS]


def test_a_folder_that_holds_no_model_is_missing(tmp_path: Path) -> None:
    found = run.on_model(str(tmp_path), [fake_section(fake_claim())], Settings(), lambda done, of: None)
    assert [result.verdict for result in found] == [Verdict.NOT_MEASURED]
    assert "no config.json" in found[0].reason
    assert "\n" not in found[0].reason
