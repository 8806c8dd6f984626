"""What makes a run fail: a difference from the record, a theorem that does not hold, an error."""

import json
from pathlib import Path

import pytest

from claims import record as module
from claims.record import Entry, failures, load_record
from claims.registry import MATRICES
from claims.settings import Settings
from claims.verdicts import Result, Verdict
from knowedit.errors import FileFormatError
from tests.claims.fakes import fake_claim, fake_section

CLAIM, BUNDLED, OTHER = "fake.holds", "bundled-one", "gpt2-xl"


@pytest.fixture(autouse=True)
def one_bundled_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "is_bundled", lambda name: name == BUNDLED)


def failing(
    verdict: Verdict, recorded: Verdict | None, *, model: str = OTHER, proved: bool = False
) -> list[str]:
    record = {} if recorded is None else {(CLAIM, model): Entry(recorded, "because")}
    result = Result(CLAIM, model, verdict, reason="the reason" if verdict is Verdict.ERROR else "")
    return failures([result], record, [fake_section(fake_claim(), proved=proved)], Settings())


@pytest.mark.parametrize("verdict", [v for v in Verdict if v is not Verdict.ERROR])
@pytest.mark.parametrize("model", [OTHER, BUNDLED, MATRICES])
def test_what_is_on_record_does_not_fail(verdict: Verdict, model: str) -> None:
    assert failing(verdict, verdict, model=model) == []


def test_a_difference_fails_and_says_what_to_do() -> None:
    (text,) = failing(Verdict.CONTRADICTED, Verdict.HOLDS)
    assert text == (
        "fake.holds on gpt2-xl is on record as HOLDS and was found CONTRADICTED. "
        "Find out why before changing record.json."
    )


def test_a_better_verdict_is_a_difference_too() -> None:
    assert failing(Verdict.HOLDS, Verdict.CONTRADICTED)
    assert failing(Verdict.HOLDS, Verdict.NOT_MEASURED)


def test_a_difference_under_other_settings_says_so() -> None:
    result = Result(CLAIM, OTHER, Verdict.INCONCLUSIVE)
    record = {(CLAIM, OTHER): Entry(Verdict.HOLDS, "because")}
    (text,) = failures([result], record, [fake_section(fake_claim())], Settings(facts=5, seed=2))
    assert "this run had facts=5, seed=2" in text


def test_what_is_missing_fails_for_bundled_models_only() -> None:
    assert failing(Verdict.NOT_MEASURED, None, model=OTHER) == []
    assert failing(Verdict.NOT_MEASURED, Verdict.HOLDS, model=OTHER) == []
    assert failing(Verdict.NOT_MEASURED, Verdict.HOLDS, model=BUNDLED)
    assert failing(Verdict.NOT_MEASURED, None, model=BUNDLED)


def test_no_entry_fails_for_what_ships_only() -> None:
    assert failing(Verdict.HOLDS, None, model=OTHER) == []
    assert "not on record" in failing(Verdict.HOLDS, None, model=BUNDLED)[0]
    assert "not on record" in failing(Verdict.HOLDS, None, model=MATRICES)[0]


@pytest.mark.parametrize("recorded", [None, Verdict.CONTRADICTED, Verdict.HOLDS])
def test_a_theorem_that_does_not_hold_always_fails(recorded: Verdict | None) -> None:
    assert "theorem" in failing(Verdict.CONTRADICTED, recorded, proved=True)[0]


def test_a_theorem_that_is_not_measured_is_not_called_wrong() -> None:
    assert failing(Verdict.NOT_MEASURED, None, proved=True) == []
    assert "theorem" not in failing(Verdict.NOT_MEASURED, None, model=BUNDLED, proved=True)[0]


@pytest.mark.parametrize("recorded", [None, Verdict.HOLDS])
def test_an_error_always_fails(recorded: Verdict | None) -> None:
    assert failing(Verdict.ERROR, recorded) == ["fake.holds on gpt2-xl: the reason"]


@pytest.mark.parametrize("full", [False, True])
def test_a_full_run_is_compared_with_the_full_verdict(full: bool) -> None:
    record = {(CLAIM, OTHER): Entry(Verdict.INCONCLUSIVE, "because", Verdict.HOLDS)}
    expected = Verdict.HOLDS if full else Verdict.INCONCLUSIVE
    for verdict in (Verdict.HOLDS, Verdict.INCONCLUSIVE):
        found = failures(
            [Result(CLAIM, OTHER, verdict)], record, [fake_section(fake_claim())], Settings(full=full)
        )
        assert bool(found) == (verdict is not expected)


def test_a_full_run_without_a_verdict_of_its_own_is_compared_with_the_usual_one() -> None:
    assert Entry(Verdict.HOLDS, "because").expected(Settings(full=True)) is Verdict.HOLDS


def written(folder: Path, entry: object) -> Path:
    path = folder / "record.json"
    path.write_text(json.dumps({CLAIM: {"m": entry}}), encoding="utf-8")
    return path


def test_a_record_is_read(tmp_path: Path) -> None:
    path = written(tmp_path, {"verdict": "NOT MEASURED", "explanation": " no weights "})
    assert load_record(path) == {(CLAIM, "m"): Entry(Verdict.NOT_MEASURED, "no weights")}


def test_a_full_verdict_is_read(tmp_path: Path) -> None:
    path = written(tmp_path, {"verdict": "INCONCLUSIVE", "explanation": "x", "full": "HOLDS"})
    assert load_record(path) == {(CLAIM, "m"): Entry(Verdict.INCONCLUSIVE, "x", Verdict.HOLDS)}


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ({"verdict": "FINE", "explanation": "x"}, "verdict 'FINE'"),
        ({"verdict": "ERROR", "explanation": "x"}, "verdict 'ERROR'"),
        ({"explanation": "x"}, "verdict None"),
        ({"verdict": "HOLDS", "explanation": " "}, "no explanation"),
        ({"verdict": "HOLDS"}, "no explanation"),
        ({"verdict": "HOLDS", "explanation": "x", "full": "HOLDS"}, "full verdict 'HOLDS': leave it out"),
        ({"verdict": "HOLDS", "explanation": "x", "full": "FINE"}, "full verdict 'FINE'"),
        ("HOLDS", "fake.holds.m is 'HOLDS', input should be an object"),
    ],
)
def test_a_wrong_entry_is_refused(tmp_path: Path, entry: object, why: str) -> None:
    with pytest.raises(FileFormatError, match=why):
        load_record(written(tmp_path, entry))


def test_a_file_that_is_no_json_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    path.write_text("{", encoding="utf-8")
    with pytest.raises(FileFormatError, match="is not JSON"):
        load_record(path)
