from __future__ import annotations

from typing import Any

import pytest
import torch

from knowedit.errors import InputError
from knowedit.models import generator_from


def test_a_seed_is_a_new_generator_that_starts_there() -> None:
    made = [generator_from(None, 3), generator_from(None, 3), torch.Generator().manual_seed(3)]
    draws = [torch.rand(4, generator=generator) for generator in made]
    assert torch.equal(draws[0], draws[1])
    assert torch.equal(draws[0], draws[2])


def test_a_generator_is_taken_as_it_is_and_neither_is_none() -> None:
    own = torch.Generator().manual_seed(1)
    assert generator_from(own, None) is own
    assert generator_from(None, None) is None


def test_a_seed_of_zero_is_a_seed() -> None:
    assert generator_from(None, 0) is not None


def test_the_global_generator_is_left_alone() -> None:
    before = torch.get_rng_state()
    generator_from(None, 7)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("seed", ["0", 1.0, True, 2**64, -(2**63) - 1])
def test_what_is_no_seed_is_refused(seed: Any) -> None:
    with pytest.raises(InputError, match=r"the seed is .* expected .*: give"):
        generator_from(None, seed)


def test_both_are_refused() -> None:
    with pytest.raises(InputError, match=r"both given: .* give one of them"):
        generator_from(torch.Generator(), 0)
