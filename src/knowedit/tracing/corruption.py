"""Ways to spoil what the model reads of the subject: its token embeddings, and nothing else.

Position embeddings stay. For noise it makes no difference whether it is added to the token embedding or to
the sum with the position; a substitution replaces the token embeddings alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from knowedit.errors import InputError, ShapeError
from knowedit.models import LanguageModel, Prompt, encode
from knowedit.tracing.reading import Reading

DRAWS = 10
"""Noise samples per text, as in the paper."""


@dataclass(frozen=True, eq=False)
class Corrupted:
    """What stands in place of the subject's token embeddings.

    Attributes:
        embeddings: ``(draws, subject tokens, width)``, in the model's number format and on its device.
        noise: what was added, ``(draws, subject tokens, width)``, float32 on the CPU; None where nothing was.
    """

    embeddings: Tensor
    noise: Tensor | None


class Corruption(Protocol):
    """What `causal_trace` takes as a corruption."""

    @property
    def random(self) -> bool:
        """Whether it needs a generator."""
        ...

    def corrupt(
        self, lm: LanguageModel, reading: Reading, draws: int | None, generator: torch.Generator | None, /
    ) -> Corrupted:
        """The corrupted embeddings; ``draws`` is None where the caller leaves the number open."""
        ...

    def settings(self) -> dict[str, Any]:
        """What makes it this corruption, as JSON."""
        ...


@dataclass(frozen=True)
class GaussianNoise:
    """``ε ~ N(0, std²)`` is added to every entry of the subject's token embeddings.

    Attributes:
        std: ν, a standard deviation. The paper has 0.1 for GPT-2 XL and 0.025 for GPT-J.

    Raises:
        InputError: ν is not a positive number.
    """

    std: float = 0.1

    def __post_init__(self) -> None:
        _check_positive("ν", self.std, "it is the noise's standard deviation, 0.1 for GPT-2 XL in the paper")

    def corrupt(
        self, lm: LanguageModel, reading: Reading, draws: int | None, generator: torch.Generator | None, /
    ) -> Corrupted:
        """Draw the noise from ``generator``; see `Corruption`."""
        shape = (_checked_draws(DRAWS if draws is None else draws), reading.size, lm.width)
        if generator is None:
            raise InputError(
                f"{type(self).__name__} draws at random and no generator was given: "
                "pass generator=torch.Generator().manual_seed(0)"
            )
        noise = torch.randn(shape, generator=generator, device=generator.device)
        return _added(lm, reading, self.std * noise)

    @property
    def random(self) -> bool:
        """See `Corruption`."""
        return True

    def settings(self) -> dict[str, Any]:
        """See `Corruption`."""
        return {"kind": "gaussian", "std": self.std}


@dataclass(frozen=True)
class RelativeNoise:
    """Gaussian noise of ``factor`` times the standard deviation of this subject's token embeddings.

    The deviation is that of all entries of all the subject's tokens together, see `embedding_std`. The released
    code takes 3 times one deviation over the subjects of all facts:
    ``GaussianNoise(3 * embedding_std(lm, prompts))``.

    Attributes:
        factor: how many standard deviations.

    Raises:
        InputError: a factor that is not a positive number.
    """

    factor: float = 3.0

    def __post_init__(self) -> None:
        _check_positive("the factor of the noise", self.factor, "3 is that of the released code")

    def corrupt(
        self, lm: LanguageModel, reading: Reading, draws: int | None, generator: torch.Generator | None, /
    ) -> Corrupted:
        """See `GaussianNoise.corrupt`."""
        return GaussianNoise(self.factor * embedding_std(lm, [reading.prompt])).corrupt(
            lm, reading, draws, generator
        )

    @property
    def random(self) -> bool:
        """See `Corruption`."""
        return True

    def settings(self) -> dict[str, Any]:
        """See `Corruption`."""
        return {"kind": "relative", "factor": self.factor}


@dataclass(frozen=True, eq=False)
class FixedNoise:
    """Noise that is given, so that a trace can be made again exactly: ``FixedNoise(trace.noise)``.

    Attributes:
        noise: ``(draws, subject tokens, width)``.
    """

    noise: Tensor

    def corrupt(
        self, lm: LanguageModel, reading: Reading, draws: int | None, _generator: torch.Generator | None, /
    ) -> Corrupted:
        """Add the noise; nothing is drawn, and ``draws`` may only repeat its length."""
        expected = (len(self.noise) if draws is None else draws, reading.size, lm.width)
        if tuple(self.noise.shape) != expected or not len(self.noise) or not self.noise.is_floating_point():
            raise ShapeError(
                f"the noise is {self.noise.dtype} of shape {tuple(self.noise.shape)}, expected floating point "
                f"(draws, subject tokens, width) = {expected}: the subject of {reading.prompt.text!r} has "
                f"{expected[1]} tokens"
            )
        return _added(lm, reading, self.noise)

    @property
    def random(self) -> bool:
        """See `Corruption`."""
        return False

    def settings(self) -> dict[str, Any]:
        """See `Corruption`."""
        return {"kind": "fixed"}


@dataclass(frozen=True)
class Substitution:
    """The token embeddings of another subject, token for token; one draw, as nothing is random.

    Attributes:
        subject: the other subject, as it would stand in the prompt.
    """

    subject: str

    def corrupt(
        self, lm: LanguageModel, reading: Reading, draws: int | None, _generator: torch.Generator | None, /
    ) -> Corrupted:
        """Read the other subject in the same prompt.

        Raises:
            InputError: more than one draw, or a subject that cannot be aligned: it has another number of
                tokens, or the tokens around it change.
        """
        if draws not in (None, 1):
            raise InputError(
                f"a substitution is not random, but {draws} draws were asked for: leave draws out"
            )
        ids = torch.tensor([self._ids(lm, reading)], device=lm.device)
        return Corrupted(lm.module("embedding")(ids), None)

    def _ids(self, lm: LanguageModel, reading: Reading) -> list[int]:
        own, prompt = reading.subject, reading.prompt
        ids = encode(lm.tokenizer, reading.before + self.subject + reading.after)
        head, tail = list(prompt.ids[: prompt.start]), list(prompt.ids[prompt.stop :])
        count = len(ids) - len(head) - len(tail)
        if not self.subject.strip() or count != reading.size:
            raise InputError(
                f"{self.subject!r} takes {max(count, 0)} tokens in the place of {own!r}, which takes "
                f"{reading.size}: substitute a subject of as many tokens"
            )
        if ids[: prompt.start] != head or ids[prompt.stop :] != tail:
            raise InputError(
                f"the tokens around the subject change when {self.subject!r} stands for {own!r} in "
                f"{prompt.text!r}: substitute a subject that leaves them alone"
            )
        return ids[prompt.subject]

    @property
    def random(self) -> bool:
        """See `Corruption`."""
        return False

    def settings(self) -> dict[str, Any]:
        """See `Corruption`."""
        return {"kind": "substitution", "subject": self.subject}


@torch.no_grad()
def embedding_std(lm: LanguageModel, prompts: Sequence[Prompt]) -> float:
    """The standard deviation of all entries of the prompts' subject token embeddings taken together.

    Bessel's correction is in it, and a token counts as often as it occurs, as in the released code.

    Raises:
        InputError: no prompts.
    """
    if not prompts:
        raise InputError("no prompts were given: a standard deviation needs at least one subject")
    ids = [token for prompt in prompts for token in prompt.ids[prompt.subject]]
    embeddings = lm.module("embedding")(torch.tensor([ids], device=lm.device))
    return float(embeddings.float().std())


@torch.no_grad()
def clean_embeddings(lm: LanguageModel, reading: Reading) -> Tensor:
    """The subject's own token embeddings, ``(1, subject tokens, width)``."""
    found = lm.module("embedding")(torch.tensor([reading.subject_ids], device=lm.device))
    assert isinstance(found, Tensor)
    return found


def _added(lm: LanguageModel, reading: Reading, noise: Tensor) -> Corrupted:
    clean = clean_embeddings(lm, reading)
    noise = noise.detach().to("cpu", torch.float32)
    # The sum is rounded once, also in half precision.
    return Corrupted((clean.float() + noise.to(clean.device)).to(clean.dtype), noise)


def _check_positive(name: str, value: float, advice: str) -> None:
    if not (isinstance(value, int | float) and math.isfinite(value) and value > 0):
        raise InputError(f"{name} is {value!r}, expected a positive number: {advice}")


def _checked_draws(draws: int) -> int:
    if draws < 1:
        raise InputError(f"draws is {draws}, expected at least 1: the paper takes {DRAWS}")
    return draws
