"""Intervals against numbers known from elsewhere, formulas by hand, and the coverage they promise."""

import math

import numpy as np
import pytest

from knowedit.errors import InputError
from knowedit.intervals import Interval, bounded, of_probabilities, student

Z = 1.959963984540054


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_wilson_on_a_published_example() -> None:
    # Newcombe 1998, Table I, method 3: 81 of 263 and 15 of 148.
    assert (round(Interval.wilson(81, 263).low, 4), round(Interval.wilson(81, 263).high, 4)) == (
        0.2553,
        0.3662,
    )
    assert (round(Interval.wilson(15, 148).low, 4), round(Interval.wilson(15, 148).high, 4)) == (
        0.0624,
        0.1605,
    )


@pytest.mark.parametrize(("successes", "n"), [(0, 20), (1, 29), (50, 100), (99, 100), (100, 100)])
def test_wilson_is_the_formula_written_out(successes: int, n: int) -> None:
    share = successes / n
    centre = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * math.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2))
    found = Interval.wilson(successes, n)
    assert (found.mean, found.n) == (share, n)
    assert found.low == pytest.approx(centre - half, abs=1e-12)
    assert found.high == pytest.approx(centre + half, abs=1e-12)


@pytest.mark.parametrize(("successes", "n"), [(0, 0), (-1, 5), (6, 5)])
def test_wilson_refuses_what_is_no_share(successes: int, n: int) -> None:
    with pytest.raises(InputError, match=f"{successes} successes in {n}"):
        Interval.wilson(successes, n)


def test_bootstrap_of_two_values_is_known_exactly() -> None:
    # The resampled mean is 0, 1/2 or 1 with chances 1/4, 1/2, 1/4: both 2.5 % points are at the ends.
    assert Interval.bootstrap([0.0, 1.0], rng()) == Interval(0.5, 0.0, 1.0, 2)


def test_bootstrap_of_equal_values_is_that_value() -> None:
    assert Interval.bootstrap([0.75] * 10, rng()) == Interval(0.75, 0.75, 0.75, 10)


def test_bootstrap_agrees_with_the_normal_interval_on_a_large_sample() -> None:
    sample = rng(1).normal(3.0, 2.0, 500)
    half = Z * sample.std(ddof=1) / math.sqrt(len(sample))
    found = Interval.bootstrap(sample, rng())
    assert found.low == pytest.approx(sample.mean() - half, abs=0.05 * half)
    assert found.high == pytest.approx(sample.mean() + half, abs=0.05 * half)


def test_bootstrap_covers_what_it_promises() -> None:
    draws = rng(2)
    found = [Interval.bootstrap(draws.normal(1.0, 1.0, 40), draws) for _ in range(100)]
    assert 0.86 <= np.mean([interval.low <= 1.0 <= interval.high for interval in found]) <= 0.99


def test_the_same_generator_state_gives_the_same_interval() -> None:
    values = [0.1, 0.5, 0.9, 0.3]
    assert Interval.bootstrap(values, rng(3)) == Interval.bootstrap(values, rng(3))


@pytest.mark.parametrize("values", [[], [1.0], [[1.0, 2.0]], [1.0, math.nan], [1.0, math.inf]])
def test_bootstrap_refuses_what_has_no_interval(values: list[float]) -> None:
    with pytest.raises(InputError):
        Interval.bootstrap(values, rng())


def test_pairs_are_kept_together() -> None:
    before = rng(4).uniform(0, 100, 50)
    found = Interval.bootstrap(before - 4.0, rng(), minus=before)
    assert found.mean == pytest.approx(-4.0)
    assert found.high - found.low < 1e-9


def test_pairs_are_after_minus_before() -> None:
    assert Interval.bootstrap([1.0, 1.0], rng(), minus=[3.0, 3.0]) == Interval(-2.0, -2.0, -2.0, 2)


def test_pairs_of_different_lengths_are_refused() -> None:
    with pytest.raises(InputError, match="same records"):
        Interval.bootstrap([1.0, 2.0], rng(), minus=[1.0, 2.0, 3.0])


def test_student_on_numbers_from_a_table() -> None:
    # Four values of mean 2.5 and variance 5/3; t(0.975, 3) = 3.18245.
    half = 3.18245 * math.sqrt(5 / 3 / 4)
    found = Interval.student([1.0, 2.0, 3.0, 4.0])
    assert (found.mean, found.n) == (2.5, 4)
    assert (found.low, found.high) == (
        pytest.approx(2.5 - half, abs=1e-4),
        pytest.approx(2.5 + half, abs=1e-4),
    )


def test_student_takes_each_column_by_itself() -> None:
    values = rng(5).uniform(size=(7, 3, 2))
    mean, low, high = student(values)
    for place in np.ndindex(3, 2):
        one = Interval.student(values[(slice(None), *place)])
        assert (one.mean, one.low, one.high) == pytest.approx((mean[place], low[place], high[place]))


def test_student_covers_what_it_promises() -> None:
    draws = rng(6)
    found = [Interval.student(draws.normal(1.0, 1.0, 5)) for _ in range(400)]
    assert 0.92 <= np.mean([interval.low <= 1.0 <= interval.high for interval in found]) <= 0.98


def test_student_of_one_and_of_no_value() -> None:
    one = Interval.student([0.5])
    assert (one.mean, one.n) == (0.5, 1)
    assert math.isnan(one.low)
    assert math.isnan(one.high)
    with pytest.raises(InputError, match="at least one"):
        Interval.student([])


def test_a_change_of_unit() -> None:
    assert Interval(0.5, 0.25, 0.75, 8).scaled(100) == Interval(50.0, 25.0, 75.0, 8)
    with pytest.raises(InputError, match="positive"):
        Interval(0.5, 0.25, 0.75, 8).scaled(-1)


def test_a_mean_of_few_or_equal_values_has_an_honest_interval():
    rng = np.random.default_rng(0)
    certain = Interval.mean_of([1.0] * 8, rng, (0.0, 1.0))
    assert (certain, certain.method) == (Interval.wilson(8, 8), "wilson")
    assert certain.low < 0.7
    assert Interval.mean_of([1.0] * 60 + [0.0] * 40, rng, (0.0, 1.0)) == Interval.wilson(60, 100)
    few = Interval.mean_of([0.0, 0.1, 0.9], rng, (0.0, 1.0))
    assert (few.low, few.high, few.method) == (0.0, 1.0, "student")
    many = [0.2, 0.4, 0.9] * 12
    assert Interval.mean_of(many, np.random.default_rng(1), (0.0, 1.0)) == Interval.bootstrap(
        many, np.random.default_rng(1)
    )
    assert Interval.mean_of([3.0, 4.0], rng).method == "student"


def test_intervals_of_probabilities_stay_within_their_bounds():
    values = np.array([[0.01, 0.5, -0.9], [0.02, 0.5, 0.9], [0.57, 0.5, 0.9]])
    mean, low, high = of_probabilities(values, -1.0)
    assert np.allclose(mean, values.mean(axis=0))
    assert low[2] == -1.0
    assert high[2] == 1.0
    assert low[1] < 0.5 < high[1]
    assert (of_probabilities(values[:, :2])[1] >= 0.0).all()
    assert np.isnan(of_probabilities(values[:1])[1]).all()


def test_a_bounded_mean_is_covered_whatever_its_distribution():
    rng, covered = np.random.default_rng(2), 0
    for _ in range(400):
        _, low, high = bounded(rng.beta(0.4, 0.6, 12))
        covered += low <= 0.4 <= high
    assert covered >= 375
    assert [float(part) for part in bounded(np.array([0.0, 0.0, 1.0]))] == pytest.approx(
        [1 / 3, Interval.wilson(1, 3).low, Interval.wilson(1, 3).high]
    )
