"""From run folders to verdicts: what is missing, stale or wrong is told of every claim that reads it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from claims import finished_runs, knowing, make_evidence, run, sources
from claims.finished_runs import SAMPLE, gather, scored_by_all
from claims.models import Missing, OpenModel
from claims.settings import Settings
from claims.sources import EVIDENCE, RECORDS, Source
from claims.table2 import METHODS as TABLE2
from claims.table2 import SECTION
from claims.verdicts import Result, Verdict
from knowedit.editing import ROME
from knowedit.errors import InputError
from knowedit.evaluation import Record, RecordScores, load_records
from knowedit.evaluation.runs.run import RECORDS as LINES
from knowedit.evaluation.runs.run import read_run
from tests.claims.runs import METHODS, FakeStation, make_records, make_run, scores

MODEL = "organism-gpt2"
ALL = make_records(40)

FOUND: dict[str, dict[str, float]] = {
    "none": {"prompt": 0.01, "paraphrases": 0.01, "neighborhood": 0.01, "consistency": 0.2, "essence": -20},
    "rome": {"neighborhood": 0.02, "consistency": 0.4, "essence": -22},
    "ft": {"neighborhood": 0.8, "consistency": 0.3, "essence": -26},
    "ft+l": {"paraphrases": 0.2, "consistency": 0.25, "essence": -21},
    "attn-edit": {"paraphrases": 0.2, "consistency": 0.2},
}


def of(method: str, **changed: float) -> Callable[[Record], RecordScores]:
    return lambda record: scores(record, **(FOUND[method] | changed))


STATIONS = {method: FakeStation(method, of(method)) for method in METHODS}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evidence")
    for method, station in STATIONS.items():
        make_run(folder / MODEL / method, station, ALL)
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the evidence, and a model of which it is."""
    monkeypatch.setattr(run, "open_model", lambda source, settings: fake_model(source))
    use(monkeypatch, STATIONS)
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    return tmp_path


def fake_model(name: str) -> OpenModel:
    config = SimpleNamespace(model_type="gpt2")
    lm: Any = SimpleNamespace(folder=None, name=name, model=SimpleNamespace(config=config))
    return OpenModel(name, lm, ROME.paper())


def use(patch: pytest.MonkeyPatch, stations: dict[str, FakeStation], records: list[Record] = ALL) -> None:
    patch.setattr(finished_runs, "_open", lambda *given: (records, stations))


def results(folder: Path, name: str = MODEL, **settings: Any) -> dict[str, Result]:
    found = run.on_model(
        name, [SECTION, knowing.SECTION], Settings(evidence=folder, **settings), lambda done, of: None
    )
    return {result.claim: result for result in found}


def verdicts(found: dict[str, Result], section: str) -> set[Verdict]:
    return {result.verdict for claim, result in found.items() if claim.startswith(section)}


def test_the_claims_are_judged_by_the_runs(folder: Path) -> None:
    found = results(folder)
    held = {claim for claim, result in found.items() if result.verdict is Verdict.HOLDS}
    assert held == {
        "table2.rome-avoids-both",
        "table2.ft-f2",
        "table2.ftl-f1",
        "table2.fluency",
        "table2.consistency",
        "table2.essence",
        "knowing.both-specific",
        "knowing.attention-does-not-generalise",
        "knowing.consistency",
    }
    assert found["knowing.both-recite"].verdict is Verdict.CONTRADICTED  # both recite all
    assert found["table2.gpt-j"].verdict is Verdict.NOT_MEASURED
    assert "about GPT-J" in found["table2.gpt-j"].reason


def test_the_report_says_which_runs_and_how_many_were_measured_again(folder: Path) -> None:
    measured = results(folder)["table2.ft-f2"].measured
    assert measured is not None
    for method in TABLE2:
        assert f"{method} {read_run(folder / MODEL / method).digest[:12]}" in measured.note
    again = SAMPLE * len(TABLE2)
    assert f"; {again} records measured again, {again} with the very same texts" in measured.note


def test_full_measures_every_record_again(folder: Path) -> None:
    seen: list[tuple[int, int]] = []
    settings = Settings(evidence=folder, full=True)
    found = gather(TABLE2, fake_model(MODEL), settings, lambda done, of: seen.append((done, of)))
    assert {len(check.cases) for check in found.checks.values()} == {len(ALL)}
    of_all = len(ALL) * len(TABLE2)
    assert seen == [(done, of_all) for done in range(1, of_all + 1)]


def test_a_missing_run_leaves_only_the_claims_that_read_it(folder: Path) -> None:
    shutil.rmtree(folder / MODEL / "attn-edit")
    found = results(folder)
    assert verdicts(found, "knowing.") == {Verdict.NOT_MEASURED}
    assert Verdict.HOLDS in verdicts(found, "table2.")
    reason = found["knowing.consistency"].reason
    assert f"make it with python -m claims.make_evidence --model {MODEL} --method attn-edit" in reason


def test_a_model_without_evidence_is_told_how_to_make_it(folder: Path) -> None:
    found = results(folder, "gpt2-xl", records=Path("counterfact.json"))
    assert verdicts(found, "") == {Verdict.NOT_MEASURED}
    reason = found["table2.ft-f2"].reason
    assert "--model gpt2-xl --method none --records-file counterfact.json" in reason


def test_an_unfinished_run_is_not_measured(folder: Path) -> None:
    lines = folder / MODEL / "ft" / LINES
    lines.write_bytes(b"".join(lines.read_bytes().splitlines(keepends=True)[:-1]))
    assert verdicts(results(folder), "table2.") == {Verdict.NOT_MEASURED}


def test_another_version_is_stale(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = {"ft": replace(STATIONS["ft"], changed={"settings": {"layer": 5, "version": 2}})}
    use(monkeypatch, STATIONS | changed)
    found = results(folder)
    assert verdicts(found, "table2.") == {Verdict.STALE}
    assert f"{MODEL}/ft was measured by version 1 of its settings" in found["table2.essence"].reason
    assert Verdict.STALE not in verdicts(found, "knowing.")


@pytest.mark.parametrize("line", [3, 39])
def test_a_changed_line_is_an_error(folder: Path, line: int) -> None:
    path = folder / MODEL / "ft+l" / LINES
    lines = path.read_text().splitlines(keepends=True)
    lines[line] = lines[line].replace("0.2", "0.9", 1)
    path.write_text("".join(lines))
    found = results(folder)
    assert verdicts(found, "table2.") == {Verdict.ERROR}
    assert f"line {line + 1}" in found["table2.ft-f2"].reason


def test_other_records_are_an_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = replace(ALL[0], fact=replace(ALL[0].fact, target_new="viola"))
    use(monkeypatch, STATIONS, [other, *ALL[1:]])
    found = results(folder)
    assert verdicts(found, "") == {Verdict.ERROR}
    assert "is about other records" in found["table2.ft-f2"].reason


def test_another_model_is_an_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, {name: replace(one, changed={"model": "n"}) for name, one in STATIONS.items()})
    assert verdicts(results(folder), "") == {Verdict.ERROR}


def test_what_is_not_found_again_is_an_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, STATIONS | {"rome": FakeStation("rome", of("rome", paraphrases=0.89))})
    found = results(folder)
    assert verdicts(found, "") == {Verdict.ERROR}
    assert f"{MODEL}/rome was not found again" in found["knowing.consistency"].reason


def test_texts_of_one_run_that_are_drawn_otherwise_are_an_error(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, STATIONS | {"ft": FakeStation("ft", of("ft", entropy=5.001))})
    found = results(folder)
    assert verdicts(found, "table2.") == {Verdict.ERROR}
    assert "0 came out the same, while those of other runs do" in found["table2.ft-f2"].reason


def test_a_processor_that_draws_all_texts_otherwise_is_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, {name: FakeStation(name, of(name, entropy=5.001)) for name in METHODS})
    measured = results(folder)["table2.ft-f2"].measured
    assert measured is not None
    assert "16 records measured again, 0 with the very same texts" in measured.note


def test_records_that_failed_are_left_out_of_all_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(record: Record) -> RecordScores:
        return scores(record, prompt=0.9 if record.case_id % 21 else 1 / 0)

    stations = STATIONS | {"ft": FakeStation("ft", fails)}
    for method in TABLE2:
        make_run(tmp_path / MODEL / method, stations[method], ALL)
    use(monkeypatch, stations)
    found = gather(TABLE2, fake_model(MODEL), Settings(evidence=tmp_path), lambda done, of: None)
    assert (found.left_out, found.means.n) == (14, 26)
    rows, kept = scored_by_all(found.checks, ALL)
    for of_method in rows.values():
        assert [one.case_id for one in of_method] == [record.case_id for record in kept]
    assert len(kept) == 26
    assert "14 records that failed are left out" in found.provenance


# Where evidence comes from


def test_the_evidence_of_bundled_models_is_in_this_package() -> None:
    source = Source(MODEL)
    assert source.folder("ft+l") == EVIDENCE / MODEL / "ft+l"
    assert Source("a/b", Path("e")).folder("none") == Path("e") / "a--b" / "none"
    texts = source.texts()
    assert not texts.kept
    assert source.job("rome", texts).editor == ROME.paper()
    assert source.job("rome", texts).scorer.texts is texts
    assert len(source.first_records()) == RECORDS
    assert sources.METHODS == METHODS
    assert set(TABLE2) | set(knowing.METHODS) == set(METHODS)


def test_a_model_with_records_uses_its_own(tmp_path: Path) -> None:
    (tmp_path / "records_test.json").write_text("[]")
    model = fake_model("mine")
    settings = Settings(records=Path("other.json"))
    own: Any = SimpleNamespace(folder=tmp_path, name="mine")
    assert Source.of(replace(model, lm=own), settings).records is None
    assert Source.of(model, settings).records == Path("other.json")


def test_the_command_asks_for_every_run(capsys: pytest.CaptureFixture[str]) -> None:
    options = make_evidence.parser().parse_args(["--records", "3", "--out", "e"])
    found = make_evidence.asked_for(options)
    assert [source.folder(method) for source, method in found] == [
        Path("e") / model / method for model in ("organism-gpt2", "organism-gptj") for method in METHODS
    ]
    assert options.records == 3
    with pytest.raises(SystemExit, match="2"):
        make_evidence.parser().parse_args(["--records", "0"])
    with pytest.raises(SystemExit, match="2"):
        make_evidence.parser().parse_args(["--method", "mend"])
    assert "too few" in capsys.readouterr().err


def go(folder: Path, *more: str) -> int:
    given = ("--model", MODEL, "--method", "none", "--records", "2", "--out", str(folder))
    return make_evidence.main([*given, *more])


def test_what_the_command_makes_is_evidence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scorer = sources.TextScorer
    monkeypatch.setattr(sources, "TextScorer", lambda tfidf, **more: scorer(tfidf, new_tokens=8, **more))
    assert go(tmp_path) == 0
    made = read_run(tmp_path / MODEL / "none")
    assert made.digest[:16] in capsys.readouterr().out
    assert json.loads((made.path / LINES).read_text().splitlines()[0])["scores"]["texts"]["generated"] is None
    lines = made.path / LINES
    lines.write_bytes(lines.read_bytes().splitlines(keepends=True)[0])
    assert go(tmp_path) == 0
    assert read_run(made.path).digest == made.digest
    model = run.open_model(MODEL, Settings())
    found = gather(("none",), model, Settings(evidence=tmp_path), lambda done, of: None)
    assert found.checks["none"].same_texts == 2
    assert model.lm.folder is not None
    records = load_records(model.lm.folder / "records_test.json")[:2]
    assert found.checks["none"].cases == tuple(record.case_id for record in records)
    assert found.means.n == 2
    assert found.family == "gpt2"


def test_the_command_says_in_one_line_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert go(tmp_path, "--layer", "3") == 2
    assert "layer: options of an editor that is given by its name, not of none" in capsys.readouterr().err
    assert not any(tmp_path.iterdir())

    def stop(*given: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sources, "evaluate", stop)
    assert go(tmp_path) == 130
    assert "the same command resumes it" in capsys.readouterr().err


def test_a_record_that_failed_is_in_the_exit_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(record: Record) -> RecordScores:
        return scores(record, prompt=1 / record.case_id)

    folder = tmp_path / MODEL / "none"
    made = make_run(folder, FakeStation(of=fails), ALL)
    monkeypatch.setattr(make_evidence, "make", lambda *given, **options: made)
    assert go(tmp_path) == 1


def test_a_method_that_the_model_lacks_something_for_is_not_measured(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(run, "open_model", lambda source, settings: fake_model(source))

    def no_layer(self: Any, method: str, texts: Any) -> None:
        raise InputError("no layer is known")

    monkeypatch.setattr(Source, "job", no_layer)
    found = results(folder)
    assert verdicts(found, "") == {Verdict.NOT_MEASURED}
    assert found["table2.ft-f2"].reason == "no layer is known"


# Reading a folder


def test_a_missing_folder_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(
        Missing, match=r"no evidence in m/rome: make it with python -m claims.make_evidence --model m"
    ):
        Source("m", tmp_path).read("rome")


def test_an_unfinished_run_says_how_to_resume(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "m" / "none", FakeStation(), ALL[:12]).path
    lines = (folder / LINES).read_bytes().splitlines(keepends=True)
    (folder / LINES).write_bytes(b"".join(lines[:-3]))
    source = Source("m", tmp_path)
    with pytest.raises(Missing, match="3 of 12 records of m/none are not measured: resume with python -m"):
        source.read("none")
    (folder / LINES).unlink()
    with pytest.raises(Missing, match="12 of 12 records"):
        source.read("none")
