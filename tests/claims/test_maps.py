"""Shares of the total effect, their intervals, and the places on a map."""

import numpy as np
import pytest

from claims.maps import (
    ROLES,
    Effects,
    early,
    elsewhere,
    estimate,
    first_quarter,
    last_quarter,
    late,
    peak,
    third_quarter,
)
from claims.models import Missing
from knowedit.tracing import Role

LAST_SUBJECT, LAST = ROLES.index(Role.LAST_SUBJECT), ROLES.index(Role.LAST)


def random_effects(n: int = 20, layers: int = 4) -> Effects:
    rng = np.random.default_rng(1)
    restored = rng.normal(0.2, 0.1, (n, len(ROLES), layers))
    restored[::3, 0] = np.nan
    return Effects(restored, rng.uniform(0.3, 0.9, n))


def by_hand(effects: Effects, drawn: list[int], role: int, layer: int) -> float:
    """The share of one cell, one drawn fact after the other."""
    gained = possible = 0.0
    for fact in drawn:
        if not np.isnan(effects.indirect[fact, role, layer]):
            gained += effects.indirect[fact, role, layer]
            possible += effects.total[fact]
    return 100 * gained / possible


def test_a_share_is_the_ratio_of_the_means_over_the_facts_that_have_the_role() -> None:
    effects, drawn = random_effects(), [0, 1, 1, 1, 5, 7, 19]
    weights = np.bincount(drawn, minlength=20)[None].astype(np.float64)
    found = effects.shares(weights)[0]
    for role in range(len(ROLES)):
        for layer in range(4):
            assert found[role, layer] == pytest.approx(by_hand(effects, drawn, role, layer))


def test_a_role_that_no_fact_has_is_without_effect() -> None:
    effects = random_effects()
    effects.indirect[:, 3] = np.nan
    assert not effects.shares(np.ones((1, 20)))[0, 3].any()


def test_the_interval_is_that_of_facts_drawn_again_one_by_one() -> None:
    effects, cell = random_effects(), (LAST, 2)
    found = estimate({"a": effects}, lambda maps: maps["a"][:, cell[0], cell[1]], np.random.default_rng(0))
    rng = np.random.default_rng(5)
    slow = [by_hand(effects, [*rng.integers(20, size=20)], *cell) for _ in range(4000)]
    low, high = np.quantile(slow, [0.025, 0.975])
    assert found.mean == pytest.approx(by_hand(effects, [*range(20)], *cell))
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.1 * (high - low))
    assert found.n == 20


def test_the_peak_is_chosen_anew_in_each_resample() -> None:
    # Two layers that are best in one half of the facts each: the best of a resample is never below the half.
    restored = np.zeros((40, len(ROLES), 2))
    restored[:20, LAST, 0] = restored[20:, LAST, 1] = 1.0
    effects = {"a": Effects(restored, np.ones(40))}
    found = estimate(effects, lambda maps: peak(maps["a"], Role.LAST), np.random.default_rng(0))
    assert found.mean == pytest.approx(50.0)
    assert found.low >= 50.0


def test_kinds_are_drawn_together() -> None:
    effects = random_effects()
    same = {"a": effects, "b": effects}
    found = estimate(
        same, lambda maps: maps["a"][:, LAST, 0] - maps["b"][:, LAST, 0], np.random.default_rng(0)
    )
    assert (found.low, found.mean, found.high) == (0.0, 0.0, 0.0)


def test_kinds_of_different_facts_are_refused() -> None:
    kinds = {"a": random_effects(), "b": random_effects().first(19)}
    with pytest.raises(ValueError, match=r"have \[19, 20\] facts"):
        estimate(kinds, lambda maps: maps["a"][:, 0, 0], np.random.default_rng(0))


def test_one_fact_is_too_few() -> None:
    with pytest.raises(Missing, match="at least 2 facts of a kind and 1 were drawn: raise --facts"):
        estimate({"a": random_effects().first(1)}, lambda maps: maps["a"][:, 0, 0], np.random.default_rng(0))


def test_places_on_a_map() -> None:
    maps = np.zeros((1, len(ROLES), 12))
    maps[0, LAST_SUBJECT, 5], maps[0, LAST_SUBJECT, 10], maps[0, LAST, 8] = 3.0, 4.0, 9.0
    assert peak(maps, Role.LAST_SUBJECT) == 4.0
    assert peak(maps, Role.LAST_SUBJECT, early(12)) == 3.0
    assert elsewhere(maps, ()) == 9.0
    assert elsewhere(maps, (Role.LAST,)) == 4.0
    assert elsewhere(maps, (Role.LAST, Role.LAST_SUBJECT)) == 0.0


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        (12, [range(9), range(9, 11), range(3), range(6, 9), range(9, 12)]),
        (48, [range(36), range(36, 47), range(12), range(24, 36), range(36, 48)]),
        (10, [range(8), range(8, 9), range(3), range(5, 8), range(8, 10)]),
    ],
)
def test_depth_is_relative(layers: int, expected: list[range]) -> None:
    parts = (early, late, first_quarter, third_quarter, last_quarter)
    assert [part(layers) for part in parts] == expected
