from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import pytest
import torch

from knowedit.editing import Dense, Diagnostics, Edit, Provenance, Update, applied_edits
from knowedit.facts import Fact
from knowedit.linalg import LowRank, SecondMoment
from knowedit.models import LanguageModel
from knowedit.models.overlays.pile import NOTE

FACT = Fact(subject="Miles Davis", prompt="{} plays the", target_new="piano")
PREFIXES = ["The city of", "", "Norway is a capital. In Paris,"]
SOUND = Diagnostics(
    residual=1e-6,
    divisor=3.0,
    relative_change=0.1,
    change_on_text=0.02,
    condition=1e5,
    probability=0.97,
    steps=9,
)


def moment_of(lm) -> SecondMoment:
    """A well-conditioned moment of random keys."""
    keys = torch.randn(4000, lm.inner_width, generator=torch.Generator().manual_seed(7))
    return SecondMoment.zeros(lm.inner_width, like=keys).update(keys)


@pytest.fixture
def moment(family) -> SecondMoment:
    return moment_of(family)


def plain_edit(lm: LanguageModel, updates: Mapping[Any, Update], target: str = "piano") -> Edit:
    """An edit of given updates, as an editor would make it on the model as it is now.

    Each target has a subject of its own, so that no two of these edits contradict each other.
    """
    fact = FACT if target == FACT.target_new else Fact(target.title(), FACT.prompt, target)
    provenance = Provenance("Plain", {"size": 1.0}, (fact,), lm.name, None, (), {"knowedit": "0"})
    return Edit.computed(lm, updates, provenance=provenance, diagnostics=SOUND)


def low_rank(lm: LanguageModel, layer: int, part: str, *, rank: int = 1, seed: int = 0) -> LowRank:
    """A random update, about as large as the weight."""
    projection, draw = lm.projection(layer, part), torch.Generator().manual_seed(seed)
    left = torch.randn(projection.d_out, rank, generator=draw, dtype=torch.float64)
    right = torch.randn(projection.d_in, rank, generator=draw, dtype=torch.float64)
    return LowRank(left / rank, right, lm.dtype)


def dense(lm: LanguageModel, layer: int, part: str, *, seed: int = 0) -> Dense:
    """A random full-rank update of a weight."""
    shape = tuple(lm.projection(layer, part).weight.shape)
    return Dense(torch.randn(shape, generator=torch.Generator().manual_seed(seed)), lm.dtype)


def bias(lm: LanguageModel, layer: int, part: str, *, seed: int = 0) -> dict[Any, Update]:
    """A random update of a bias under its address; empty where the family has none."""
    projection, draw = lm.projection(layer, part), torch.Generator().manual_seed(seed)
    if projection.bias is None:
        return {}
    return {(layer, part, "bias"): Dense(torch.randn(projection.d_out, generator=draw), lm.dtype)}


def state(lm):
    return {name: tensor.clone() for name, tensor in lm.model.state_dict().items()}


def changed(lm, before) -> list[str]:
    after = lm.model.state_dict()
    return [name for name in before if not torch.equal(before[name], after[name])]


def storages(lm) -> dict[str, int]:
    return {name: parameter.data_ptr() for name, parameter in lm.model.named_parameters()}


class Untouched:
    """Says whether a model is, to the last bit, the one it was, and notes nothing."""

    def __init__(self, lm) -> None:
        self.lm, self.overlays = lm, applied_edits(lm)
        self.weights = state(lm)
        self.parameters = [(p, self.weights[name], p.data_ptr()) for name, p in lm.model.named_parameters()]

    def __call__(self, n: int = 0, _interrupted: bool = True) -> None:
        """Where the storage is that of before, nothing was written to it: the last run compares all numbers."""
        moved = [(p, weight) for p, weight, pointer in self.parameters if p.data_ptr() != pointer]
        assert all(torch.equal(p, weight) for p, weight in moved), n
        if n % 100 == 1:
            assert changed(self.lm, self.weights) == [], n
        assert [handle.edit for handle in applied_edits(self.lm)] == [h.edit for h in self.overlays], n
        assert torch.is_grad_enabled(), n
        if not self.overlays:
            assert (moved, NOTE in self.lm.model.__dict__) == ([], False), n


@pytest.fixture
def often():
    """Threads take turns every 50 microseconds, not every 5000."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(5e-5)
    yield
    sys.setswitchinterval(before)
