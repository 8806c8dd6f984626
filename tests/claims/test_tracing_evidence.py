"""What is traced for the claims: the right facts, the right kinds, and a model that is left as it was."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from claims import tracing_evidence
from claims.maps import ROLES, Evidence
from claims.models import Missing, OpenModel, open_model, shuffled_records
from claims.settings import Settings
from claims.tracing import SECTION
from claims.tracing_evidence import (
    FULL,
    SAMPLE,
    Tracer,
    attention_editor,
    decisive,
    effects,
    gather,
    kinds_of_traces,
    lenders,
)
from knowedit.models import fingerprint, locate
from knowedit.tracing import (
    FactSummary,
    FixedNoise,
    KnownFact,
    RelativeNoise,
    Role,
    Trace,
    TraceSettings,
    Window,
    causal_trace,
)

SETTINGS = Settings(facts=2, seed=20)
"""Two facts of which both have text before the subject, and an answer of one token."""
DRAWS = 2


@pytest.fixture(scope="module")
def model() -> OpenModel:
    return open_model("organism-gpt2", SETTINGS)


@pytest.fixture(scope="module")
def steps() -> list[tuple[int, int]]:
    return []


def cheaper(n_layers: int, noise: float) -> dict[str, TraceSettings]:
    """The kinds of traces with fewer draws of the noise than the ten of the paper."""
    return {name: replace(kind, draws=DRAWS) for name, kind in kinds_of_traces(n_layers, noise).items()}


@pytest.fixture(scope="module")
def evidence(model: OpenModel, steps: list[tuple[int, int]]) -> Evidence:
    before = fingerprint(model.lm)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tracing_evidence, "kinds_of_traces", cheaper)
        found = gather(model, SETTINGS, lambda done, of: steps.append((done, of)))
    assert not before.differences(fingerprint(model.lm, with_edits=True))
    return found


def test_every_claim_finds_what_it_reads(evidence: Evidence) -> None:
    for claim in SECTION.claims:
        try:
            claim.measure(evidence)
        except Missing:
            assert claim.id in ("trace.gpt-j", "trace.after-attention-edit")


def test_the_noise_is_drawn_as_often_as_in_the_paper() -> None:
    assert {kind.draws for kind in kinds_of_traces(12, 3.0).values()} == {None}


@pytest.mark.usefixtures("evidence")
def test_progress_ends_at_its_end(steps: list[tuple[int, int]]) -> None:
    assert steps == [(done, 6) for done in range(1, 7)]


def by_hand(model: OpenModel, i: int, **options: Any) -> Trace:
    """The trace of a drawn record, with the noise of its plain trace."""
    fact = shuffled_records(model, SETTINGS)[i].fact
    seed = KnownFact(fact.text, fact.subject, str(fact.target_true)).noise_seed(SETTINGS.seed)
    settings = TraceSettings(**({"corruption": RelativeNoise(3.0), "draws": DRAWS} | options))
    return causal_trace(
        model.lm, fact.prompt, fact.subject, answer=fact.target_true, settings=settings, seed=seed
    )


KINDS: dict[str, dict[str, Any]] = {
    "hidden": {},
    "mlp": {"part": "mlp", "window": Window(1, 1)},
    "attention": {"part": "attention", "window": Window(1, 1)},
    "single mlp": {"part": "mlp"},
    "single attention": {"part": "attention"},
    "without mlp": {"sever": "mlp"},
    "without attention": {"sever": "attention"},
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_what_it_is_called_and_has_the_same_noise(
    model: OpenModel, evidence: Evidence, kind: str
) -> None:
    noise = by_hand(model, 1).noise
    assert noise is not None
    trace = by_hand(model, 1, corruption=FixedNoise(noise), **KINDS[kind])
    found = evidence.known[kind]
    for row, role in enumerate(ROLES):
        if tokens := trace.tokens_with(role):
            expected = trace.indirect_effects[tokens].mean(0).numpy()
            np.testing.assert_allclose(found.indirect[1, row], expected, atol=1e-5)
        else:
            assert np.isnan(found.indirect[1, row]).all()
    assert found.total[1] == pytest.approx(trace.total_effect, abs=1e-5)


def test_the_control_corrupts_the_token_before_the_subject_alone(
    model: OpenModel, evidence: Evidence
) -> None:
    plain = by_hand(model, 0)
    start = plain.subject[0]
    fact = shuffled_records(model, SETTINGS)[0].fact
    located = locate(model.lm, fact.prompt, fact.subject)
    seed = KnownFact(plain.text, fact.subject, plain.answer).noise_seed(SETTINGS.seed)
    moved = replace(located, start=start - 1, stop=start)
    settings = TraceSettings(draws=DRAWS)
    expected = causal_trace(model.lm, moved, answer=plain.answer, settings=settings, seed=seed).corrupted
    assert evidence.texts.outside[0] == pytest.approx(expected, abs=1e-5)


def test_a_prompt_without_a_token_before_the_subject_has_no_control(model: OpenModel) -> None:
    fact = next(r.fact for r in shuffled_records(model, SETTINGS) if r.fact.prompt.startswith("{}"))
    tracer = Tracer(model.lm, "", kinds_of_traces(12, 3.0), 0, lambda: None)
    assert np.isnan(tracer.outside(KnownFact(fact.text, fact.subject, str(fact.target_true))))


def test_the_edited_model_predicts_the_new_object_and_the_unedited_one_does_not(evidence: Evidence) -> None:
    assert evidence.edited["edited"].total.min() > 0.5
    assert np.array_equal(evidence.edited["edited"].total, evidence.edited["unedited"].total)
    assert np.nanmax(np.abs(evidence.edited["unedited"].indirect[..., -1])) < 0.5


def test_an_editor_of_attention_is_traced_where_its_settings_are_known(
    model: OpenModel, evidence: Evidence
) -> None:
    known = attention_editor(model.lm)
    assert ("edited by attention" in evidence.edited) is (known is not None)
    assert attention_editor(replace(model.lm, folder=None, name="nobody's")) is None


def test_the_decisive_states_are_early_and_by_token(model: OpenModel) -> None:
    trace = by_hand(model, 0)
    stop = trace.subject[1]
    scores = torch.zeros_like(trace.restored_draws)
    scores[:, stop - 1, 3] = 0.3
    scores[:, stop - 2, 8] = 0.4
    scores[:, stop - 2, 9] = 0.9  # too late
    scores[:, -1, 8] = 0.8  # the last token
    invented = replace(trace, restored_draws=scores, corrupted_draws=torch.zeros_like(trace.corrupted_draws))
    assert decisive(invented)[:2] == pytest.approx((0.3, 0.4))
    assert decisive(invented)[2] == 0.0


def test_a_substituted_subject_has_another_answer_to_the_same_question(model: OpenModel) -> None:
    records = shuffled_records(model, SETTINGS)
    record = records[5]
    offered = list(lenders(record, records))
    by_name = {
        other.fact.subject: other.fact for other in records if other.fact.relation == record.fact.relation
    }
    assert offered
    for name in offered:
        assert by_name[name].target_true != record.fact.target_true
        assert name != record.fact.subject


def test_a_role_without_tokens_is_nan(model: OpenModel) -> None:
    trace = by_hand(model, 0)
    found = effects([FactSummary.of(trace)] * 2)
    present = [bool(trace.tokens_with(role)) for role in Role]
    assert [not np.isnan(row).any() for row in found.indirect[0]] == present


def test_too_few_known_facts_are_said(model: OpenModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("claims.tracing_evidence.recall_facts", lambda lm, facts: [None for _ in facts])
    with pytest.raises(Missing, match="knows 0 of 400 records, 2 are needed"):
        gather(model, SETTINGS, lambda done, of: None)


def test_the_full_run_has_at_least_300_facts_and_the_sample_is_part_of_it() -> None:
    assert FULL.every >= 300
    assert FULL.plain >= SAMPLE.plain >= SAMPLE.every >= SAMPLE.edited
    assert SAMPLE.at_most(40).plain == 40
