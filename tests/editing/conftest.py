from __future__ import annotations

import pytest
import torch

from knowedit.facts import Fact
from knowedit.linalg import SecondMoment

FACT = Fact(subject="Miles Davis", prompt="{} plays the", target_new="piano")
PREFIXES = ["The city of", "", "Norway is a capital. In Paris,"]


def moment_of(lm) -> SecondMoment:
    """A well-conditioned moment of random keys."""
    keys = torch.randn(4000, lm.inner_width, generator=torch.Generator().manual_seed(7))
    return SecondMoment.zeros(lm.inner_width, like=keys).update(keys)


@pytest.fixture
def moment(family) -> SecondMoment:
    return moment_of(family)
