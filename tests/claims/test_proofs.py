"""The proofs are complete, mutants are rejected at their place, and the page tells what is proved."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from claims import coq, run
from claims.catalogue import SECTIONS
from claims.report import Report
from claims.settings import Settings
from claims.verdicts import Result, Verdict
from tests.claims.fakes import fake_claim, fake_section

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "proofs.md").read_text(encoding="utf-8")
needs_coq = pytest.mark.skipif(shutil.which("coqc") is None, reason=f"no coqc: {coq.INSTALL}")


def source(file: str) -> str:
    return (coq.FOLDER / f"{file}.v").read_text(encoding="utf-8")


def written() -> list[str]:
    return [f"{file}.v: {name}" for file in coq.FILES for name in coq.theorems(source(file))]


# The files


def test_every_file_is_compiled_after_its_imports() -> None:
    assert {path.stem for path in coq.FOLDER.glob("*.v")} == set(coq.FILES)
    for place, file in enumerate(coq.FILES):
        imports = re.findall(r"^From Rome Require Import (.+)\.$", source(file), re.MULTILINE)
        assert set(" ".join(imports).split()) <= set(coq.FILES[:place])


def test_every_theorem_belongs_to_one_claim() -> None:
    section = next(section for section in SECTIONS if section.name == "algebra")
    assert all(claim.theorems for claim in section.claims)
    assert sorted(written()) == sorted(name for claim in section.claims for name in claim.theorems)


def test_comments_may_be_nested_and_hide_nothing() -> None:
    assert coq.without_comments("a (* b (* Admitted *) c *) d").split() == ["a", "d"]
    assert coq.theorems("(* Theorem no : 1. *)\nTheorem yes : 1.\nLemma step : 1.\n") == ["yes"]


@pytest.mark.parametrize("gap", ["Admitted.", "admit.", "Axiom a : False.", "Parameter a : False."])
def test_a_gap_is_found_before_coq_is_asked(gap: str, tmp_path: Path) -> None:
    (tmp_path / "norm.v").write_text(f"{source('norm')}\n{gap}\n", encoding="utf-8")
    with pytest.raises(coq.Unproved, match=r"norm\.v has a gap"):
        coq.compiled("norm", tmp_path, tmp_path)


# The page


def rows(page: str) -> Iterator[list[str]]:
    """The cells of every row that begins with a name."""
    for line in page.splitlines():
        if line.startswith("| `"):
            yield [cell.strip() for cell in line.strip("|").split("|")]


def test_the_page_names_every_theorem_once_and_no_other() -> None:
    named = [row[0].strip("`") for row in rows(PAGE)]
    assert sorted(named) == sorted(name.partition(".v: ")[2] for name in written())


def test_no_cell_of_the_page_is_empty() -> None:
    for row in rows(PAGE):
        assert len(row) == 5, row
        assert all(row), row
        assert "knowedit.linalg." in row[3], row
        assert re.fullmatch(r"`tests/linalg/\w+\.py::(law|test)_\w+`", row[4]), row


def test_the_page_says_what_is_not_proved() -> None:
    section = PAGE.partition("## What is not proved")[2].partition("\n## ")[0]
    assert all(word in section for word in ("Floating point", "Conditioning", "The code itself"))


# The verdicts


def verdicts(monkeypatch: pytest.MonkeyPatch, answer: object) -> list[tuple[str, Verdict, str]]:
    def check() -> object:
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(coq, "check", check)
    claim = replace(fake_claim("a"), theorems=("a.v: x", "a.v: y"))
    return [(r.model, r.verdict, r.reason) for r in run.proofs([fake_section(claim, fake_claim("b"))])]


def test_a_theorem_is_proved_only_if_coq_accepted_it(monkeypatch: pytest.MonkeyPatch) -> None:
    found = verdicts(monkeypatch, coq.Checked(("a.v: x",), 1.0))
    assert [verdict for _, verdict, _ in found] == [Verdict.PROVED, Verdict.ERROR]
    assert "no such theorem" in found[1][2]


@pytest.mark.parametrize(
    ("error", "verdict"),
    [(coq.Absent("no coqc"), Verdict.NOT_MEASURED), (coq.Unproved("line 3"), Verdict.ERROR)],
)
def test_without_a_compilation_nothing_is_proved(
    error: Exception, verdict: Verdict, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = verdicts(monkeypatch, error)
    assert found == [("a.v: x", verdict, str(error)), ("a.v: y", verdict, str(error))]


def test_claims_without_theorems_compile_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coq, "check", lambda: pytest.fail("compiled"))
    assert run.proofs([fake_section(fake_claim("a"))]) == []


def test_without_coq_the_command_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert coq.main() == 0
    assert capsys.readouterr().out == f"NOT MEASURED: there is no coqc: {coq.INSTALL}\n"


def test_every_place_that_installs_coq_takes_the_same_packages() -> None:
    packages = coq.INSTALL.split()[3:]
    assert coq.INSTALL in (ROOT / "noxfile.py").read_text(encoding="utf-8")
    assert f"missing+=({' '.join(packages)})" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert all(f"`{package}`" in PAGE for package in packages)


def test_a_theorem_has_a_row_of_its_own_without_numbers() -> None:
    claim = replace(fake_claim("a"), theorems=("a.v: x",))
    results = [Result("fake.a", "a.v: x", Verdict.PROVED)]
    report = Report([fake_section(claim)], results, [], {}, Settings())
    assert "| fake.a | Table 9 | a.v: x | – | – | – | – | PROVED |" in report.markdown()
    assert report.summary == "Results: 1 PROVED; nothing to look into."


# Coq


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All files as they are, compiled: the control of the mutants."""
    folder = tmp_path_factory.mktemp("proofs")
    for file in coq.FILES:
        coq.compiled(file, coq.FOLDER, folder)
    return folder


MUTANTS = {
    "the sign of the insertion": ("insertion", "W + multiplier", "W - multiplier", "inserted_change"),
    "the sign of the multiplier": ("insertion", "(v - W *m k).\n", "(W *m k - v).\n", "eqn13_feasible"),
    "C for its inverse": (
        "insertion",
        "k v *m (invmx C *m k)^T.\n",
        "k v *m (C *m k)^T.\n",
        "inserted_change",
    ),
    "no divisor": ("insertion", "(divisor C k)^-1 *: (v", "1 *: (v", "eqn13_feasible"),
    "stated sign": ("insertion", "k != 0 -> What *m k = v", "k != 0 -> What *m k = - v", "eqn13_feasible"),
    "stated C": ("insertion", "(What - W) *m C = Lambda", "(What - W) *m invmx C = Lambda", "eqn18_change"),
    "stated divisor": ("insertion", "+ (divisor C k)^-1 * norm2", "+ norm2", "loss_increase"),
    "the sign of the block": ("block_system", "Ks (- Ks^T) 0", "Ks (Ks^T) 0", "eqn20_block_system"),
    "the sign of the drift": ("sequence", "v1 + (overlap", "v1 - (overlap", "drift"),
    "keys not independent": ("batch", "Hypothesis independent : \\rank Ks = e.", "", "gram_unit"),
}


@needs_coq
@pytest.mark.parametrize(("file", "old", "new", "place"), MUTANTS.values(), ids=MUTANTS.keys())
def test_a_mutant_is_rejected_at_its_place(
    file: str, old: str, new: str, place: str, compiled: Path, tmp_path: Path
) -> None:
    text = source(file)
    assert old in text
    mutant = text.replace(old, new, 1)
    shutil.copytree(compiled, tmp_path, dirs_exist_ok=True)
    (tmp_path / f"{file}.v").write_text(mutant, encoding="utf-8")
    with pytest.raises(coq.Unproved) as caught:
        coq.coqc(file, tmp_path)
    line = re.search(rf'"\./{file}\.v", line (\d+)', str(caught.value))
    assert line, caught.value
    before = "\n".join(mutant.splitlines()[: int(line[1])])
    assert re.findall(r"^(?:Theorem|Lemma) (\w+)", before, re.MULTILINE)[-1] == place, caught.value


@needs_coq
def test_an_axiom_is_found(compiled: Path, tmp_path: Path) -> None:
    shutil.copytree(compiled, tmp_path, dirs_exist_ok=True)
    hidden = (
        source("hypotheses")
        + "\nVariable assumed : False.\nTheorem wrong : False. Proof. exact assumed. Qed.\n"
    )
    (tmp_path / "hypotheses.v").write_text(hidden, encoding="utf-8")
    coq.coqc("hypotheses", tmp_path)
    with pytest.raises(coq.Unproved, match="rests on an axiom"):
        coq._audit(["norm.v: norm2_ge0", "hypotheses.v: wrong"], tmp_path)
