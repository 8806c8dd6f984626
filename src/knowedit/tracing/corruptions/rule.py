"""How much noise: as much as leaves of what a model knows the share that the paper's noise left of GPT-2 XL's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import torch
from torch import Generator, Tensor

from knowedit.errors import InputError
from knowedit.models import LanguageModel, Prompt, Site, generator_from, intervene, next_token_probabilities
from knowedit.tracing.corruptions.kinds import FixedNoise, GaussianNoise, RelativeNoise

PAPER_SHARE: Final = 8.47 / 27.0
"""Corrupted over clean probability, GPT-2 XL, Section 3.1: ν is 0.1 there, three deviations of its embeddings."""
MOST_FACTOR: Final = 64.0
CLOSE: Final = 1.005
"""The factor is found to half a percent, far below what another draw of the noise changes."""


@torch.no_grad()
def noise_that_leaves(
    lm: LanguageModel,
    prompts: Sequence[Prompt],
    share: float = PAPER_SHARE,
    *,
    draws: int = 3,
    generator: Generator | None = None,
    seed: int | None = None,
) -> RelativeNoise:
    """The multiple of each subject's deviation at which noise leaves a share of the clean probability.

    The probability is that of the token that the model predicts, the mean over the facts; what is left is the mean over
    the draws as well. Each fact has the same draws, scaled, at every multiple that is tried, so that the share
    changes smoothly; the multiple is found by bisection of its logarithm. Choose it on facts that are not
    traced afterwards.

    Args:
        lm: the model.
        prompts: of facts that it knows, with their subjects.
        share: corrupted over clean probability, between 0 and 1.
        draws: of the noise for each fact.
        generator: draws the noise.
        seed: of a new generator, in its place.

    Raises:
        InputError: no prompts, a share or a number of draws that is none, neither generator nor seed, or a model
            that keeps more than this share whatever the noise.
    """
    if not prompts or not 0 < share < 1 or draws < 1:
        raise InputError(
            f"found {len(prompts)} prompts, a share of {share} and {draws} draws: give at least one prompt, a share "
            "between 0 and 1, and at least one draw"
        )
    facts = _Facts(lm, prompts, draws, generator_from(generator, seed))
    low, high = 1 / MOST_FACTOR, MOST_FACTOR
    if facts.left(high) > share or facts.left(low) < share:
        raise InputError(
            f"noise of {low:g} to {high:g} deviations leaves {facts.left(low):.0%} to {facts.left(high):.0%} of the "
            f"clean probability, {share:.3%} was asked for: give facts that the model knows, or another share"
        )
    while high > CLOSE * low:
        middle = math.sqrt(low * high)
        low, high = (middle, high) if facts.left(middle) > share else (low, middle)
    return RelativeNoise(round(math.sqrt(low * high), 3))


class _Facts:
    """The prompts with their noise of one deviation, and the clean probabilities."""

    def __init__(
        self, lm: LanguageModel, prompts: Sequence[Prompt], draws: int, generator: Generator | None
    ) -> None:
        self.lm, self.prompts = lm, prompts
        unit = [GaussianNoise.of_embeddings(lm, [prompt], 1.0) for prompt in prompts]
        self.noise = [
            one.corrupt(lm, prompt, "", draws, generator)[1]
            for one, prompt in zip(unit, prompts, strict=True)
        ]
        clean = next_token_probabilities(lm, list(prompts))
        self.clean, self.answers = clean.max(dim=-1)

    def left(self, factor: float) -> float:
        """Corrupted over clean probability at this multiple of the deviation."""
        cases = zip(self.prompts, self.noise, self.answers.tolist(), strict=True)
        corrupted = [
            self._corrupted(prompt, factor * noise, answer)
            for prompt, noise, answer in cases
            if noise is not None
        ]
        return sum(corrupted) / len(corrupted) / float(self.clean.mean())

    def _corrupted(self, prompt: Prompt, noise: Tensor, answer: int) -> float:
        embeddings, _ = FixedNoise(noise).corrupt(self.lm, prompt, "", None, None)

        def corrupt(value: Tensor) -> Tensor:
            value[:, prompt.subject] = embeddings.to(value)
            return value

        with intervene(self.lm, {Site(None, "embedding"): corrupt}):
            rows = next_token_probabilities(self.lm, [prompt] * len(noise), batch_size=len(noise))
        return float(rows[:, answer].mean())
