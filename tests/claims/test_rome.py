"""The claims about ROME on invented scores: what is read, from whom, in which unit and direction."""

from collections.abc import Callable

import pytest
import torch

from claims.registry import Measured
from claims.rome import CLAIMS, Evidence, Outcome
from claims.verdicts import Verdict, assess
from knowedit.evaluation import RecordScores
from knowedit.evaluation.runs.seeds import record_generator
from knowedit.evaluation.scores.record_scores import Pair
from knowedit.intervals import Interval

RECORDS = 60


def scores(prompt: float, paraphrases: float, neighborhood: float) -> RecordScores:
    """o* with the given probability after two prompts of each kind, o_c with the rest."""

    def pair(new: float, count: int) -> Pair:
        values = torch.full((count,), new, dtype=torch.float64)
        return Pair(values, 1 - values)

    return RecordScores(pair(prompt, 1), pair(paraphrases, 2), pair(neighborhood, 2))


BEFORE = scores(0.1, 0.1, 0.1)
GOOD = scores(0.98, 0.9, 0.1)
IDLE = scores(0.1, 0.1, 0.1)
BLEEDING = scores(0.98, 0.9, 0.9)


def measured(name: str, edited: RecordScores, *, of: Callable[[int], RecordScores] | None = None) -> Measured:
    (claim,) = [claim for claim in CLAIMS if claim.id == f"rome.{name}"]
    chosen = of or (lambda i: edited)
    outcomes = [Outcome(BEFORE, chosen(i), IDLE, BLEEDING) for i in range(RECORDS)]
    return claim.measure(Evidence(outcomes, seed=0))


def verdict(name: str, edited: RecordScores) -> Verdict:
    (claim,) = [claim for claim in CLAIMS if claim.id == f"rome.{name}"]
    return assess(claim, "m", measured(name, edited)).verdict


@pytest.mark.parametrize("name", ["confident", "generalises", "specific"])
def test_a_good_edit_holds(name: str) -> None:
    assert verdict(name, GOOD) is Verdict.HOLDS


def test_even_all_of_few_records_do_not_prove_efficacy() -> None:
    # 60 of 60 still allow a share of 94 %.
    assert verdict("efficacy", GOOD) is Verdict.INCONCLUSIVE


@pytest.mark.parametrize("name", ["efficacy", "confident", "generalises"])
def test_an_edit_without_effect_is_found(name: str) -> None:
    assert verdict(name, IDLE) is Verdict.CONTRADICTED


def test_an_edit_that_bleeds_over_is_found() -> None:
    assert verdict("specific", BLEEDING) is Verdict.CONTRADICTED


def test_efficacy_is_a_share_of_records_in_per_cent() -> None:
    found = measured("efficacy", GOOD, of=lambda i: GOOD if i % 2 else IDLE)
    assert found.value == Interval.wilson(RECORDS // 2, RECORDS).scaled(100)


def test_confidence_is_the_probability_itself() -> None:
    found = measured("confident", GOOD)
    assert (found.value.mean, found.control.mean) == pytest.approx((0.98, 0.1))


def test_specificity_is_the_change_in_points() -> None:
    found = measured("specific", GOOD, of=lambda i: BLEEDING if i % 4 == 0 else GOOD)
    assert found.value.mean == pytest.approx(-25.0)
    assert found.value.low < -25.0 < found.value.high < 0.0
    assert found.control.mean == pytest.approx(-100.0)
    assert found.note == "100.0 % before the edit"


def test_a_records_seed_depends_on_the_seed_and_the_record() -> None:
    seeds = {record_generator(seed, case).initial_seed() for seed in range(3) for case in range(100)}
    assert len(seeds) == 300
    assert record_generator(0, 7).initial_seed() == record_generator(0, 7).initial_seed()
    assert all(torch.Generator().manual_seed(seed).initial_seed() == seed for seed in seeds)
