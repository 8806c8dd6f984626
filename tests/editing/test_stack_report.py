"""What a stack adds in total, against whole matrices, and that it warns before facts are gone."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import knowedit
from knowedit.editing import ROME, Diagnostics, prepared, stack_report
from knowedit.errors import InputError
from knowedit.evaluation import load_records
from tests.editing.conftest import FACT, bias, changed, dense, low_rank, moment_of, plain_edit, state
from tests.editing.oracles import weight


def test_the_totals_are_those_of_the_summed_matrices(family):
    moment, before = moment_of(family), state(family)
    first = plain_edit(family, {(1, "mlp_down"): low_rank(family, 1, "mlp_down", seed=1)})
    second = plain_edit(
        family,
        {(1, "mlp_down"): dense(family, 1, "mlp_down"), (2, "mlp_up"): dense(family, 2, "mlp_up")},
        "cello",
    )
    total = sum(edit.updates[1, "mlp_down"].materialise(torch.float64) for edit in (first, second))
    own = weight(family, 1)
    with first.applied(family), second.applied(family):
        with_statistics = stack_report(family, statistics={1: moment})
        without = stack_report(family)
    root = torch.linalg.cholesky(moment.matrix)
    down, up = with_statistics.added
    assert down.address == "layer 1 mlp_down"
    assert down.relative == pytest.approx(float(total.norm() / own.norm()))
    assert (down.on_text, down.exact) == (
        pytest.approx(float((total @ root).norm() / (own @ root).norm())),
        True,
    )
    assert (up.on_text, up.exact) == (0.02, False)  # that of the edit's own diagnostics
    assert without.added[0].on_text == pytest.approx(0.04)
    assert with_statistics.edits == (first.digest, second.digest)
    assert changed(family, before) == []


def test_a_figure_that_one_edit_lacks_is_not_known(tiny_gpt2):
    edit = plain_edit(
        tiny_gpt2, {(1, "mlp_down"): low_rank(tiny_gpt2, 1, "mlp_down"), **bias(tiny_gpt2, 1, "mlp_down")}
    )
    with replace(edit, diagnostics=Diagnostics()).applied(tiny_gpt2):
        report = stack_report(tiny_gpt2)
    assert [one.on_text for one in report.added] == [None, None]
    assert "on ordinary text" not in repr(report)


def test_a_later_edit_that_takes_a_fact_away_is_seen(tiny_gpt2):
    """The first edit took; the second undoes it; an edit that never took is not lost; a fact given anew is one fact."""
    lm = tiny_gpt2
    first = knowedit.FineTuning(layer=1, learning_rate=0.05, max_steps=100).edit(lm, [FACT])
    minus = replace(first.updates[1, "mlp_down"], matrix=-first.updates[1, "mlp_down"].matrix)
    with first.applied(lm):
        assert (stack_report(lm).lost, stack_report(lm).warnings()) == ([], [])
        second = plain_edit(lm, {(1, "mlp_down"): minus}, "cello")
        with second.applied(lm):
            report = stack_report(lm, probes=[FACT])
            again = knowedit.FineTuning(layer=1, learning_rate=0.05, max_steps=100).edit(lm, [FACT])
            with again.applied(lm):
                assert [fact.target_new for fact in stack_report(lm).facts] == ["piano", "cello"]
                assert stack_report(lm).lost == []
    assert report.took == (True, False)
    assert report.lost == [FACT]
    lost, worn, advice = report.warnings()
    assert lost.startswith(
        "1 of the 2 facts of the edits are not predicted any more, 'Miles Davis plays the'"
    )
    assert worn == "of 1 facts that no edit is about, the model predicts 0"
    assert "wears the model down" in advice
    assert advice in report._repr_html_()
    assert report.as_json()["warnings"] == [lost, worn, advice]


def test_contradictions_are_among_the_warnings(tiny_gpt2):
    edits = [
        replace(edit, provenance=replace(edit.provenance, facts=(replace(FACT, target_new=name),)))
        for seed, name in enumerate(("cello", "violin"))
        for edit in [plain_edit(tiny_gpt2, {(1, "mlp_down"): low_rank(tiny_gpt2, 1, "mlp_down", seed=seed)})]
    ]
    with edits[0].applied(tiny_gpt2):
        with pytest.warns(UserWarning, match="two objects"):
            handle = edits[1].apply(tiny_gpt2)
        assert "two objects, 'cello' and 'violin'" in stack_report(tiny_gpt2).warnings()[0]
        handle.remove()


def test_without_an_edit_there_is_no_stack(tiny_gpt2):
    with pytest.raises(InputError, match="no edit is applied"):
        stack_report(tiny_gpt2)


def test_a_stack_is_warned_of_before_it_forgets():
    """16 of the issue's 100 edits in turn: nearly all is still there, and the warning too."""
    lm = knowedit.load("organism-gpt2")
    rome = replace(prepared(ROME.paper(), lm), max_steps=12)
    for record in load_records(lm.folder / "records_test.json")[:16]:
        rome.edit(lm, [record.fact], seed=0).apply(lm)
    report = stack_report(lm)
    (added,) = report.added
    assert added.exact
    assert added.on_text > 0.5
    assert len(report.probes) == 40
    assert sum(report.kept) >= 38
    assert len(report.lost) <= 1
    assert any(
        "on ordinary text the edits together change the output of layer 5" in t for t in report.warnings()
    )
