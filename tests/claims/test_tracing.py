"""The claims about causal tracing on invented maps: on the paper's picture they hold, on any other they do not."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from claims.maps import ROLES, Array, Effects, Evidence, Texts
from claims.models import Missing
from claims.registry import Measured
from claims.tracing import SECTION
from claims.verdicts import Verdict, assess
from knowedit.intervals import Interval
from knowedit.tracing import Role

FACTS, LAYERS = 100, 12
BY_ID = {claim.id.removeprefix("trace."): claim for claim in SECTION.claims}


def role(name: Role) -> int:
    return ROLES.index(name)


BEFORE, MIDDLE = role(Role.BEFORE), role(Role.MIDDLE_SUBJECT)
LAST_SUBJECT, LAST = role(Role.LAST_SUBJECT), role(Role.LAST)

EARLY = [0.2, 0.22, 0.25, 0.3, 0.3, 0.3, 0.25, 0.2, 0.1, 0.05, 0.0, 0.0]
LATE = [0.0, 0.0, 0.0, 0.0, 0.0, 0.1, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8]
EARLY_MLP = [0.1, 0.2, 0.3, 0.3, 0.3, 0.2, 0.1, 0.05, 0.0, 0.0, 0.0, 0.0]
LATE_ATTENTION = [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.1, 0.3, 0.35, 0.2, 0.1, 0.0]
FIRST_ATTENTION = [0.1, 0.12, 0.1, 0.05, *[0.0] * 8]
NOTHING = [0.0] * LAYERS


def noisy(rows: dict[int, list[float]], n: int = FACTS) -> Effects:
    """Maps with the given rows, 0.8 total effect, and facts that differ a little."""
    rng = np.random.default_rng(0)
    restored = rng.normal(0, 0.01, (n, len(ROLES), LAYERS))
    restored[:, BEFORE] = 0.0
    restored[: n // 2, BEFORE] = np.nan
    for row, values in rows.items():
        restored[:, row] += values
    if rows.get(LAST, NOTHING)[-1] == 0.8:  # states, the last of which is the answer itself
        restored[:, LAST, -1] = 0.8
    return Effects(restored, np.full(n, 0.8))


def texts(**changed: Array) -> Texts:
    ones = np.ones(FACTS)
    outside = np.where(np.arange(FACTS) < FACTS // 2, np.nan, 0.85)
    before = np.where(np.isnan(outside), np.nan, 0.0)
    other = np.where(np.arange(FACTS) % 5 == 0, 0.5, 0.1)
    decisive = np.stack([0.3 * ones, other, before], axis=1)
    usual = Texts(0.9 * ones, 0.1 * ones, outside, decisive, np.arange(FACTS) % 4 > 0)
    return replace(usual, **changed)


SEVERED = [0.02, 0.03, 0.04, 0.1, 0.2, 0.25, 0.24, 0.2, 0.1, 0.05, 0.0, 0.0]


def paper() -> Evidence:
    """What the paper found, invented."""
    states = {LAST_SUBJECT: EARLY, LAST: LATE}
    known = {
        "hidden": noisy(states),
        "substituted": noisy(states),
        "mlp": noisy({LAST_SUBJECT: EARLY_MLP, LAST: [x / 5 for x in LATE]}),
        "attention": noisy({LAST_SUBJECT: FIRST_ATTENTION, LAST: LATE_ATTENTION}),
        "single mlp": noisy({LAST_SUBJECT: [x / 6 for x in EARLY_MLP]}),
        "single attention": noisy({LAST_SUBJECT: [x / 6 for x in FIRST_ATTENTION]}),
        "without mlp": noisy({LAST_SUBJECT: SEVERED, LAST: LATE}),
        "without attention": noisy(states),
    }
    known |= {kind: known[kind].first(60) for kind in known if kind != "hidden"}
    edited = {
        "edited": noisy({LAST_SUBJECT: EARLY, LAST: LATE}, 20),
        "edited by attention": noisy({LAST: LATE}, 20),
        "unedited": noisy({}, 20),
    }
    return Evidence("gptj", 0, texts(), known, edited)


def verdict(name: str, evidence: Evidence) -> Verdict:
    claim = BY_ID[name]
    try:
        return assess(claim, "m", claim.measure(evidence)).verdict
    except Missing:
        return Verdict.NOT_MEASURED


def with_known(kind: str, rows: dict[int, list[float]]) -> Evidence:
    found = paper()
    return replace(found, known=found.known | {kind: noisy(rows, len(found.known[kind].total))})


def with_texts(**changed: Array) -> Evidence:
    return replace(paper(), texts=texts(**changed))


@pytest.mark.parametrize("name", BY_ID)
def test_the_papers_picture_holds_and_every_control_fails(name: str) -> None:
    assert verdict(name, paper()) is Verdict.HOLDS


def test_an_editor_without_settings_is_not_measured() -> None:
    found = paper()
    edited = {kind: rows for kind, rows in found.edited.items() if kind != "edited by attention"}
    assert verdict("after-attention-edit", replace(found, edited=edited)) is Verdict.NOT_MEASURED


def with_edited(**rows: Effects) -> Evidence:
    names = {kind.replace("_", " "): effects for kind, effects in rows.items()}
    return replace(paper(), edited=paper().edited | names)


BROKEN: dict[str, Callable[[], Evidence]] = {
    "corruption": lambda: with_texts(corrupted=np.full(FACTS, 0.5)),
    "two-sites": lambda: with_known("hidden", {LAST: LATE}),
    "last-state-restores": lambda: with_known("hidden", {LAST_SUBJECT: EARLY, LAST: [0.9 * x for x in LATE]}),
    "early-site-systematic": lambda: with_known("hidden", {LAST_SUBJECT: [x / 3 for x in EARLY], LAST: LATE}),
    "mlp-at-early-site": lambda: with_known("mlp", {LAST_SUBJECT: EARLY_MLP, LAST: LATE}),
    "attention-at-late-site": lambda: with_known("attention", {LAST_SUBJECT: LATE, LAST: FIRST_ATTENTION}),
    "single-module-negligible": lambda: with_known("single attention", {LAST: LATE_ATTENTION}),
    "mlp-mediation": lambda: with_known("without mlp", {LAST_SUBJECT: [x / 2 for x in EARLY], LAST: LATE}),
    "substitution": lambda: with_known("substituted", {MIDDLE: EARLY, LAST_SUBJECT: EARLY, LAST: LATE}),
    "gpt-j": lambda: with_known("attention", {LAST: LATE_ATTENTION}),
    "exceptions": lambda: with_texts(decisive=np.tile([0.3, 0.31, 0.0], (FACTS, 1))),
    "after-edit": lambda: with_edited(edited=noisy({LAST: LATE}, 20)),
    "after-attention-edit": lambda: with_edited(
        edited_by_attention=noisy({LAST_SUBJECT: EARLY, LAST: LATE}, 20)
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_another_picture_contradicts(name: str) -> None:
    assert verdict(name, BROKEN[name]()) is Verdict.CONTRADICTED


def weak_windows() -> Evidence:
    found = paper()
    nothing = noisy({}).first(60)
    return replace(found, known=found.known | {"mlp": nothing, "attention": nothing})


def severed_everywhere() -> Evidence:
    found = paper()
    states, severed = noisy({LAST_SUBJECT: EARLY, LAST: EARLY}), noisy({LAST_SUBJECT: SEVERED, LAST: SEVERED})
    return replace(found, known=found.known | {"hidden": states, "without mlp": severed.first(60)})


LEAKING: dict[str, Callable[[], Evidence]] = {
    "corruption": lambda: with_texts(outside=np.full(FACTS, 0.1)),
    "two-sites": lambda: with_known(
        "hidden", {BEFORE: [2 * x for x in EARLY], LAST_SUBJECT: EARLY, LAST: LATE}
    ),
    "early-site-systematic": lambda: with_known("hidden", {BEFORE: EARLY, LAST_SUBJECT: EARLY, LAST: LATE}),
    "mlp-at-early-site": lambda: with_known("mlp", {BEFORE: EARLY_MLP, LAST_SUBJECT: EARLY_MLP}),
    "attention-at-late-site": lambda: with_known("attention", {BEFORE: LATE_ATTENTION, LAST: LATE_ATTENTION}),
    "single-module-negligible": lambda: weak_windows(),
    "mlp-mediation": lambda: severed_everywhere(),
    "gpt-j": lambda: with_known("attention", {LAST_SUBJECT: [0.1] * LAYERS}),
    "exceptions": lambda: with_texts(decisive=np.tile([0.3, 0.9, 0.9], (FACTS, 1))),
    "after-edit": lambda: with_edited(edited=noisy({BEFORE: [2 * x for x in EARLY]}, 20)),
    "after-attention-edit": lambda: with_edited(edited=noisy({LAST: LATE}, 20)),
}


@pytest.mark.parametrize("name", LEAKING)
def test_a_control_that_shows_the_effect_spoils_the_measurement(name: str) -> None:
    assert verdict(name, LEAKING[name]()) is Verdict.ERROR


def measured(name: str, evidence: Evidence) -> Measured:
    return BY_ID[name].measure(evidence)


def test_effects_are_shares_of_the_total_effect_in_per_cent() -> None:
    assert measured("early-site-systematic", paper()).value.mean == pytest.approx(100 * 0.3 / 0.8, abs=1)
    assert measured("after-edit", paper()).value.mean == pytest.approx(100 * 0.3 / 0.8, abs=2)


def test_the_last_layer_at_the_last_token_is_no_late_site() -> None:
    only_last = [0.0] * 11 + [0.8]
    assert (
        verdict("two-sites", with_known("hidden", {LAST_SUBJECT: EARLY, LAST: only_last}))
        is Verdict.CONTRADICTED
    )


def test_states_in_the_last_quarter_are_no_early_site() -> None:
    flipped = {LAST_SUBJECT: EARLY[::-1], LAST: LATE}
    flipped[LAST_SUBJECT] = [0.0] * 9 + [0.5] * 3
    assert verdict("early-site-systematic", with_known("hidden", flipped)) is Verdict.CONTRADICTED


def test_corruption_is_the_ratio_of_means() -> None:
    clean = np.linspace(0.1, 0.9, FACTS)
    found = measured("corruption", with_texts(clean=clean, corrupted=clean**2))
    assert found.value.mean == pytest.approx(100 * (clean**2).mean() / clean.mean())
    assert found.control.n == FACTS // 2


def test_exceptions_are_facts_of_which_another_token_restores_clearly_more() -> None:
    assert measured("exceptions", paper()).value == Interval.wilson(20, FACTS).scaled(100)
    threshold = 0.3 + 0.05 * 0.8
    rows = (
        [[0.3, threshold + 1e-6, 0.0]] * 30
        + [[0.3, threshold - 1e-6, 0.0]] * 30
        + [[0.3, np.nan, np.nan]] * 40
    )
    found = measured("exceptions", with_texts(decisive=np.array(rows)))
    assert found.value == Interval.wilson(30, FACTS).scaled(100)
    assert found.control == Interval.wilson(0, FACTS).scaled(100)


def test_a_token_that_restores_nothing_is_no_exception_where_the_last_subject_token_does_harm() -> None:
    found = measured("exceptions", with_texts(decisive=np.tile([-0.2, 0.0, 0.0], (FACTS, 1))))
    assert found.value == found.control == Interval.wilson(0, FACTS).scaled(100)


def test_kinds_with_fewer_facts_are_compared_on_the_first_facts_of_the_others() -> None:
    assert measured("mlp-mediation", paper()).value.n == 60
    assert measured("two-sites", paper()).value.n == FACTS


def test_the_identity_is_that_of_answers_of_one_token() -> None:
    found = paper()
    found.known["hidden"].indirect[~found.texts.one_token, LAST, -1] = 0.4
    result = measured("last-state-restores", found)
    assert (result.value.mean, result.value.n) == (pytest.approx(100.0), 75)
    assert result.note == "75 of 100 answers are one token; of the others it restores 50.0 %"


def test_the_unedited_model_is_told_in_units_of_the_edited_one() -> None:
    found = paper()
    found.edited["unedited"] = noisy({LAST_SUBJECT: [0.08] * LAYERS}, 20)
    note = measured("after-edit", found).note
    assert note.startswith("the unedited model, traced for the new object: ")
    assert float(note.split(": ")[1].split()[0]) == pytest.approx(10.0, abs=2.0)


def test_a_claim_about_gpt_j_is_not_measured_elsewhere_but_its_number_is_told() -> None:
    with pytest.raises(Missing, match=r"family gpt2, it is 1[45]\.\d %"):
        measured("gpt-j", replace(paper(), family="gpt2"))


def test_no_subject_to_substitute_is_said() -> None:
    found = paper()
    del found.known["substituted"]
    with pytest.raises(Missing, match="can replace another"):
        measured("substitution", found)
