"""Ways to corrupt what the model reads of the subject: its token embeddings, and nothing else.

Position embeddings stay. For noise it makes no difference whether it is added to the token embedding or to
the sum with the position; a substitution replaces the token embeddings alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Generator, Tensor

from knowedit.errors import InputError, ShapeError
from knowedit.models import LanguageModel, Prompt, encode, encode_with_offsets

DRAWS = 10
"""Noise samples per text, as in the paper."""
MOST_NOISE = 1e4
"""Of ν and of its factor: embeddings are far below 1, and the squares of much more overflow in a model."""


class Corruption(Protocol):
    """What `causal_trace` takes as a corruption."""

    @property
    def random(self) -> bool:
        """Whether it needs a generator."""
        return False

    def corrupt(
        self,
        lm: LanguageModel,
        prompt: Prompt,
        subject: str,
        draws: int | None,
        generator: Generator | None,
        /,
    ) -> tuple[Tensor, Tensor | None]:
        """What replaces the subject's token embeddings.

        Args:
            lm: the model.
            prompt: the text, its tokens, and those of the subject.
            subject: as it is written in the text.
            draws: how many; None where the caller leaves the number open.
            generator: draws what is random.

        Returns:
            The embeddings ``(draws, subject tokens, width)``, in the model's number format and on its device,
            and the noise that was added, of the same shape, float32 on the CPU; None where nothing was added.
        """
        ...

    def settings(self) -> dict[str, Any]:
        """What makes it this corruption, as JSON."""
        ...


@dataclass(frozen=True)
class GaussianNoise(Corruption):
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
        self,
        lm: LanguageModel,
        prompt: Prompt,
        _subject: str,
        draws: int | None,
        generator: Generator | None,
        /,
    ) -> tuple[Tensor, Tensor | None]:
        """Draw the noise from ``generator``; see `Corruption`."""
        shape = (DRAWS if draws is None else draws, prompt.stop - prompt.start, lm.width)
        if generator is None:
            raise InputError(
                f"{type(self).__name__} draws at random and no generator was given: "
                "pass seed=0, or a generator"
            )
        noise = torch.randn(shape, generator=generator, device=generator.device)
        return _added(lm, prompt, self.std * noise)

    @classmethod
    def of_embeddings(
        cls, lm: LanguageModel, prompts: Sequence[Prompt], factor: float = 3.0
    ) -> GaussianNoise:
        """Noise of ``factor`` times the standard deviation of the prompts' subject token embeddings.

        The deviation is that of all entries of all tokens together, with Bessel's correction; a token counts as
        often as it occurs, as in the released code, which takes the subjects of all facts.

        Raises:
            InputError: no prompts, or a factor that is not positive.
        """
        if not prompts:
            raise InputError("no prompts were given: a standard deviation needs at least one subject")
        ids = [token for prompt in prompts for token in prompt.ids[prompt.subject]]
        return cls(factor * float(_embeddings(lm, ids).float().std()))

    @property
    def random(self) -> bool:
        """See `Corruption`."""
        return True

    def settings(self) -> dict[str, Any]:
        """See `Corruption`."""
        return {"kind": "gaussian", "std": self.std}


@dataclass(frozen=True)
class RelativeNoise(Corruption):
    """Gaussian noise of ``factor`` times the standard deviation of this subject's token embeddings.

    See `GaussianNoise.of_embeddings`, which takes one deviation over many subjects, as the released code does.

    Attributes:
        factor: how many standard deviations.

    Raises:
        InputError: a factor that is not a positive number.
    """

    factor: float = 3.0

    def __post_init__(self) -> None:
        _check_positive("the factor of the noise", self.factor, "3 is that of the released code")

    def corrupt(
        self,
        lm: LanguageModel,
        prompt: Prompt,
        _subject: str,
        draws: int | None,
        generator: Generator | None,
        /,
    ) -> tuple[Tensor, Tensor | None]:
        """See `GaussianNoise.corrupt`."""
        noise = GaussianNoise.of_embeddings(lm, [prompt], self.factor)
        return noise.corrupt(lm, prompt, _subject, draws, generator)

    @property
    def random(self) -> bool:
        """See `Corruption`."""
        return True

    def settings(self) -> dict[str, Any]:
        """See `Corruption`."""
        return {"kind": "relative", "factor": self.factor}


@dataclass(frozen=True, eq=False)
class FixedNoise(Corruption):
    """Noise that is given, so that a trace can be made again exactly: ``FixedNoise(trace.noise)``.

    Attributes:
        noise: ``(draws, subject tokens, width)``.
    """

    noise: Tensor

    def corrupt(
        self,
        lm: LanguageModel,
        prompt: Prompt,
        _subject: str,
        draws: int | None,
        _generator: Generator | None,
        /,
    ) -> tuple[Tensor, Tensor | None]:
        """Add the noise; nothing is drawn, and ``draws`` may only repeat its length."""
        expected = (len(self.noise) if draws is None else draws, prompt.stop - prompt.start, lm.width)
        if tuple(self.noise.shape) != expected or not len(self.noise) or not self.noise.is_floating_point():
            raise ShapeError(
                f"the noise is {self.noise.dtype} of shape {tuple(self.noise.shape)}, expected floating point "
                f"(draws, subject tokens, width) = {expected}: the subject of {prompt.text!r} has "
                f"{expected[1]} tokens"
            )
        return _added(lm, prompt, self.noise)

    def settings(self) -> dict[str, Any]:
        """See `Corruption`."""
        return {"kind": "fixed"}


@dataclass(frozen=True)
class Substitution(Corruption):
    """The token embeddings of another subject, token for token; one draw, as nothing is random.

    Attributes:
        subject: the other subject, as it would be written in the prompt.
    """

    subject: str

    def corrupt(
        self,
        lm: LanguageModel,
        prompt: Prompt,
        subject: str,
        draws: int | None,
        _generator: Generator | None,
        /,
    ) -> tuple[Tensor, Tensor | None]:
        """Read the other subject in the same prompt.

        Raises:
            InputError: more than one draw, or a subject that cannot be aligned: it has another number of
                tokens, or the tokens around it change.
        """
        if draws not in (None, 1):
            raise InputError(
                f"a substitution is not random, but {draws} draws were asked for: leave draws out"
            )
        return _embeddings(lm, self._ids(lm, prompt, subject)), None

    def _ids(self, lm: LanguageModel, prompt: Prompt, own: str) -> list[int]:
        spans = encode_with_offsets(lm.tokenizer, prompt.text)[1]
        begin = prompt.text.index(own, spans[prompt.start][0])
        ids = encode(lm.tokenizer, prompt.text[:begin] + self.subject + prompt.text[begin + len(own) :])
        head, tail = list(prompt.ids[: prompt.start]), list(prompt.ids[prompt.stop :])
        count, expected = len(ids) - len(head) - len(tail), prompt.stop - prompt.start
        if not self.subject.strip() or count != expected:
            raise InputError(
                f"{self.subject!r} takes {max(count, 0)} tokens in the place of {own!r}, which takes "
                f"{expected}: substitute a subject with the same number of tokens"
            )
        if ids[: prompt.start] != head or ids[prompt.stop :] != tail:
            raise InputError(
                f"the tokens around the subject change when {self.subject!r} replaces {own!r} in "
                f"{prompt.text!r}: substitute a subject that leaves them alone"
            )
        return ids[prompt.subject]

    def settings(self) -> dict[str, Any]:
        """See `Corruption`."""
        return {"kind": "substitution", "subject": self.subject}


@torch.no_grad()
def _embeddings(lm: LanguageModel, ids: Sequence[int]) -> Tensor:
    """Token embeddings ``(1, tokens, width)``."""
    found = lm.module("embedding")(torch.tensor([list(ids)], device=lm.device))
    assert isinstance(found, Tensor)
    return found


def _added(lm: LanguageModel, prompt: Prompt, noise: Tensor) -> tuple[Tensor, Tensor]:
    clean = _embeddings(lm, prompt.ids[prompt.subject])
    noise = noise.detach().to("cpu", torch.float32)
    # The sum is rounded once, also in half precision.
    return (clean.float() + noise.to(clean.device)).to(clean.dtype), noise


def _check_positive(name: str, value: float, advice: str) -> None:
    if not (isinstance(value, int | float) and math.isfinite(value) and value > 0):
        raise InputError(f"{name} is {value!r}, expected a positive number: {advice}")
    if value > MOST_NOISE:
        raise InputError(f"{name} is {value!r}, expected at most {MOST_NOISE:,.0f}: {advice}")
