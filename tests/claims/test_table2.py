"""The claims about Table 2: on the paper's own rows, on invented ones, and each control."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from claims import knowing
from claims.finished_runs import ASKED, REPEATED, Evidence, columns_of
from claims.means import Columns, Means
from claims.models import Missing
from claims.registry import Measured
from claims.table2 import CLAIMS, STATEMENTS, statements
from claims.verdicts import Verdict, assess
from knowedit.evaluation.runs.paper_table import paper_rows
from knowedit.intervals import Interval
from tests.claims.runs import make_records, scores

N = 20
BY_ID = {claim.id: claim for claim in (*CLAIMS, *knowing.CLAIMS)}
LABELS = {"none": "none", "ROME": "rome", "FT": "ft", "FT+L": "ft+l"}
ATTN = {"ES": 90.0, "PS": 50.0, "PM": 5.0, "NS": 77.0, "GE": 626.0, "RS": 32.0}
Rows = dict[str, dict[str, float]]


def paper(model: str = "gpt2-xl") -> Rows:
    rows = {row.method: row for row in paper_rows(model)}
    found = {
        name: {key: interval.mean for key, interval in rows[label].columns.items()}
        for label, name in LABELS.items()
    }
    return found | {"attn-edit": dict(ATTN)}


def changed(rows: Rows, changes: Mapping[str, Mapping[str, float]]) -> Rows:
    return {name: row | dict(changes.get(name, {})) for name, row in rows.items()}


def evidence(rows: Rows, family: str = "gpt2", noise: float = 0.0) -> Evidence:
    rng = np.random.default_rng(5)
    columns = {
        (name, key): list(value + noise * rng.standard_normal(N))
        for name, row in rows.items()
        for key, value in row.items()
    }
    columns |= {(name, ASKED): [100 - row["ES"]] * N for name, row in rows.items()}
    columns[REPEATED, "GE"] = [150.0] * N
    return Evidence(family, Means.of(columns, np.random.default_rng(0), 200))


def measured(claim: str, rows: Rows, family: str = "gpt2") -> Measured:
    return BY_ID[claim].measure(evidence(rows, family))


def verdict(claim: str, rows: Rows, family: str = "gpt2") -> Verdict:
    return assess(BY_ID[claim], "m", measured(claim, rows, family)).verdict


# The paper's own numbers

NUMBERS = [
    ("table2.rome-avoids-both", "gpt2-xl", 6.0, -55.3),
    ("table2.rome-avoids-both", "gpt-j", 6.4, -61.4),
    ("table2.ft-f2", "gpt2-xl", 7.9, -6.0),
    ("table2.ft-f2", "gpt-j", 16.6, -6.4),
    ("table2.ftl-f1", "gpt2-xl", 2.2, -22.15),
    ("table2.ftl-f1", "gpt-j", 5.6, -23.4),
    ("table2.fluency", "gpt2-xl", 100 * 1.0 / 626.6, 100 * (626.6 - 150) / 626.6),
    ("table2.fluency", "gpt-j", 0.0, 100 * (621.8 - 150) / 621.8),
    ("table2.consistency", "gpt2-xl", 0.5, -9.1),
    ("table2.consistency", "gpt-j", 6.1, -11.8),
    ("table2.essence", "gpt2-xl", 100 * 0.9 / 12.8, -100 * 1.3 / 12.8),
    ("knowing.both-recite", "gpt2-xl", 9.9, -57.8),
    ("knowing.both-specific", "gpt2-xl", -4.0, -77.7),
    ("knowing.attention-does-not-generalise", "gpt2-xl", 8.6, -8.6),
    ("knowing.consistency", "gpt2-xl", 5 - 100 * 1.0 / 626.6, -10.0),
]


@pytest.mark.parametrize(("claim", "model", "value", "control"), NUMBERS)
def test_the_papers_rows_give_the_papers_number_and_hold(
    claim: str, model: str, value: float, control: float
) -> None:
    found = measured(claim, paper(model))
    assert (found.value.mean, found.control.mean) == pytest.approx((value, control), abs=1e-9)
    assert found.value.n == N
    assert verdict(claim, paper(model)) is Verdict.HOLDS


@pytest.mark.parametrize(("claim", "model", "value"), [case[:3] for case in NUMBERS])
def test_the_number_that_is_told_as_the_papers_is_what_its_rows_give(
    claim: str, model: str, value: float
) -> None:
    told = BY_ID[claim].paper.replace("−", "-")
    if claim.startswith("table2."):
        name = {"gpt2-xl": "GPT-2 XL", "gpt-j": "GPT-J"}[model]
        assert f"{value:.1f} ({name})" in told
    elif claim != "knowing.both-recite":  # of which the paper has no number
        assert f"{value:.1f}" in told


def test_on_gpt_j_essence_is_the_other_way_round() -> None:
    assert verdict("table2.essence", paper("gpt-j")) is Verdict.CONTRADICTED


def test_all_statements_about_gpt_j_hold_in_the_papers_rows() -> None:
    found = measured("table2.gpt-j", paper("gpt-j"), "gptj")
    assert (found.value.mean, found.value.low) == (len(STATEMENTS), len(STATEMENTS))
    assert found.note == "not found: none"
    assert verdict("table2.gpt-j", paper("gpt-j"), "gptj") is Verdict.HOLDS


def test_the_claim_about_gpt_j_is_not_measured_on_others() -> None:
    with pytest.raises(Missing, match=r"of family gpt2, 6 of 9 statements hold; not found: FT collapses"):
        measured("table2.gpt-j", paper())


# What would contradict each

CONTRADICTIONS = [
    ("table2.rome-avoids-both", {"rome": {"PS": 75.0}}),
    ("table2.rome-avoids-both", {"rome": {"NS": 66.0}}),
    ("table2.rome-avoids-both", {"ft": {"NS": 70.0}}),
    ("table2.rome-avoids-both", {"ft+l": {"PS": 85.0}}),
    ("table2.ft-f2", {"ft": {"PS": 75.0}}),
    ("table2.ft-f2", {"ft": {"NS": 70.0}}),
    ("table2.ftl-f1", {"ft+l": {"PS": 81.0}}),
    ("table2.ftl-f1", {"ft+l": {"PS": 70.0}}),
    ("table2.ftl-f1", {"ft+l": {"NS": 66.0}}),
    ("table2.fluency", {"rome": {"GE": 590.0}}),
    ("table2.fluency", {"rome": {"GE": 660.0}}),
    ("table2.consistency", {"ft": {"RS": 42.0}}),
    ("table2.essence", {"ft": {"Essence": 14.0}}),
    ("table2.essence", {"ft+l": {"Essence": 14.5}}),
    ("knowing.both-recite", {"rome": {"ES": 79.0}}),
    ("knowing.both-recite", {"attn-edit": {"ES": 79.0}}),
    ("knowing.both-recite", {"attn-edit": {"ES": 99.9}}),
    ("knowing.both-specific", {"rome": {"NS": 67.0}}),
    ("knowing.both-specific", {"attn-edit": {"NS": 67.0}}),
    ("knowing.attention-does-not-generalise", {"rome": {"PS": 79.0}}),
    ("knowing.attention-does-not-generalise", {"attn-edit": {"PS": 81.0}}),
    ("knowing.consistency", {"rome": {"RS": 34.0}}),
    ("knowing.consistency", {"attn-edit": {"RS": 36.0}}),
    ("knowing.consistency", {"rome": {"GE": 590.0}}),
]


@pytest.mark.parametrize(("claim", "changes"), CONTRADICTIONS)
def test_each_part_of_a_claim_can_miss(claim: str, changes: dict[str, dict[str, float]]) -> None:
    rows = changed(paper(), changes)
    value = measured(claim, rows).value
    bound = BY_ID[claim].expectation
    assert value.low > bound.bound if bound.direction == "at most" else value.high < bound.bound


MISSES = {
    "ROME fails in neither way": {"rome": {"PS": 75.0}},
    "FT and FT+L fail in one at least": {"ft": {"NS": 80.0}},
    "FT bleeds over": {"ft": {"NS": 80.0}},
    "FT collapses in fluency": {"ft": {"GE": 600.0}},
    "FT+L does not generalise": {"ft+l": {"PS": 81.0}},
    "ROME has the best RS": {"ft+l": {"RS": 42.0}},
    "ROME has the best NS of the edited models": {"ft+l": {"NS": 79.5}},
    "FT generalises better than ROME": {"ft": {"PS": 90.0}},
    "ROME's essence drifts most": {"ft": {"Essence": 6.4}},
}


def test_each_statement_about_gpt_j_can_miss() -> None:
    assert tuple(MISSES) == STATEMENTS
    for name, changes in MISSES.items():
        rows = changed(paper("gpt-j"), changes)
        held = dict(zip(STATEMENTS, statements(evidence(rows).means)[:, 0], strict=True))
        assert not held[name]
        assert name in measured("table2.gpt-j", rows, "gptj").note
        assert verdict("table2.gpt-j", rows, "gptj") is Verdict.CONTRADICTED


# Controls that keep the bound are errors

BROKEN = [
    ("table2.rome-avoids-both", {"none": {"PS": 85.0}}),
    ("table2.ft-f2", {"rome": {"NS": 60.0}}),
    ("table2.ftl-f1", {"rome": {"PS": 0.0}}),
    ("table2.consistency", {"none": {"RS": 50.0}}),
    ("table2.essence", {"none": {"Essence": 15.0}}),
    ("knowing.both-specific", {"rome": {"ES": 30.0}, "attn-edit": {"ES": 30.0}}),
    ("knowing.attention-does-not-generalise", {"rome": {"PS": 80.0}}),
]


@pytest.mark.parametrize(("claim", "changes"), BROKEN)
def test_a_control_that_does_not_miss_clearly_is_an_error(
    claim: str, changes: dict[str, dict[str, float]]
) -> None:
    found = assess(BY_ID[claim], "m", measured(claim, changed(paper(), changes)))
    assert (found.verdict, "control did not fail" in found.reason) == (Verdict.ERROR, True)


# Means and resamples


def test_a_difference_has_the_interval_of_pairs() -> None:
    rng = np.random.default_rng(1)
    before = rng.normal(50, 20, 200)
    after = before - 5 + rng.normal(0, 2, 200)
    columns: Columns = {("none", "NS"): list(before), ("rome", "NS"): list(after)}
    means = Means.of(columns, np.random.default_rng(2))
    found, expected = (
        means.interval(means.change("rome", "NS")),
        Interval.bootstrap(after, np.random.default_rng(3), minus=before),
    )
    assert found.mean == pytest.approx(expected.mean)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.05)


def test_noise_that_covers_the_bound_is_inconclusive() -> None:
    rows = changed(paper(), {"rome": {"PS": 80.5, "NS": 78.0}})
    claim = BY_ID["table2.rome-avoids-both"]
    assert assess(claim, "m", claim.measure(evidence(rows, noise=10.0))).verdict is Verdict.INCONCLUSIVE


def test_columns_are_on_the_scale_of_table_2() -> None:
    records = make_records(4)
    found = columns_of(
        {"none": [scores(record, prompt=0.8, neighborhood=0.25) for record in records]}, records
    )
    assert found["none", "ES"] == [100.0] * 4
    assert found["none", "EM"] == pytest.approx([60.0] * 4)
    assert found["none", "NM"] == pytest.approx([50.0] * 4)
    assert found["none", "GE"][2] == pytest.approx(500.7)
    assert found["none", "Essence"] == pytest.approx([np.exp(1.5)] * 4)
    assert found["none", ASKED] == [0.0] * 4
    assert 0 < found[REPEATED, "GE"][0] < 0.7 * found["none", "GE"][0]


def test_a_column_that_one_record_lacks_is_not_measured() -> None:
    records = make_records(3)
    rows = [scores(record) for record in records]
    found = columns_of({"none": [*rows[:2], replace(rows[2], texts=None)]}, records)
    means = Means.of(found, np.random.default_rng(0), 10)
    assert means("none", "PS").shape == (11,)
    with pytest.raises(Missing, match="GE is not measured for every record"):
        means("none", "GE")


def test_one_record_has_no_interval() -> None:
    with pytest.raises(Missing, match="at least 2 records and there are 1"):
        Means.of({("none", "PS"): [1.0]}, np.random.default_rng(0))
