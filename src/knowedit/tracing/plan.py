"""How the facts of a run are traced: the settings, as a value and as JSON."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Final, get_args

import torch

from knowedit.errors import InputError
from knowedit.models import LanguageModel
from knowedit.tracing.causal import MEMORY, causal_trace, check_choice
from knowedit.tracing.corruption import DRAWS, Corruption, GaussianNoise, RelativeNoise, Substitution
from knowedit.tracing.known import KnownFact
from knowedit.tracing.setting import TraceSetting, shared_settings
from knowedit.tracing.trace import Part, Severed, Trace
from knowedit.tracing.windows import Window

CORRUPTIONS: Final[dict[str, Callable[..., Corruption]]] = {
    "gaussian": GaussianNoise,
    "relative": RelativeNoise,
    "substitution": Substitution,
}
"""Those that suit any fact, by the name in their settings. A fixed noise is made for one subject."""

LARGEST_SEED = 2**63 - 1


@dataclass(frozen=True)
class TracePlan:
    """The settings with which every fact of a run is traced; see `causal_trace`.

    Attributes:
        part: what is restored.
        window: the layers that are restored together; by default one.
        sever: the part that is held at its corrupted values, or None.
        corruption: `GaussianNoise`, `RelativeNoise` or `Substitution`.
        draws: how many corruptions; by default 10 for noise and 1 for a substitution.
        seed: with the text of a prompt it gives the seed of that prompt's noise.
        memory: bytes that a trace may take; it changes the time and nothing else.

    Raises:
        InputError: a value that no trace could use.
    """

    part: Part = "hidden"
    window: Window = field(default_factory=Window)
    sever: Severed | None = None
    corruption: Corruption = field(default_factory=RelativeNoise)
    draws: int | None = None
    seed: int = 0
    memory: int = MEMORY

    def __post_init__(self) -> None:
        check_choice("part", self.part, get_args(Part))
        check_choice("sever", self.sever, (None, *get_args(Severed)))
        _check_range("draws", self.draws, 1, None if self.corruption.random else 1)
        _check_range("seed", self.seed, 0, LARGEST_SEED)
        _check_range("memory", self.memory, 1, None)
        kind = self.corruption.settings()["kind"]
        if kind not in CORRUPTIONS:
            raise InputError(
                f"the corruption is of the kind {kind!r}, which belongs to one subject: "
                f"use one of {', '.join(CORRUPTIONS)}"
            )

    def setting(self, lm: LanguageModel, digest: str) -> TraceSetting:
        """What all traces of a model by this plan have in common.

        Args:
            lm: the model as it is now.
            digest: that of the weights' `Fingerprint`.

        Raises:
            InputError: a window larger than the model.
        """
        usual = DRAWS if self.corruption.random else 1
        return TraceSetting(
            model=lm.name,
            digest=digest,
            part=self.part,
            window=self.window.check(lm.n_layers),
            sever=self.sever,
            corruption=shared_settings(self.corruption.settings()),
            draws=usual if self.draws is None else self.draws,
            n_layers=lm.n_layers,
        )

    def seed_of(self, prompt: str) -> int:
        """The seed of a prompt's noise: 63 bits of the SHA-256 of the plan's seed and the text.

        It depends on no other fact and no order, so a fact has the same trace in every list.
        """
        digest = hashlib.sha256(f"{self.seed} {prompt}".encode()).digest()
        return int.from_bytes(digest[:8], "big") >> 1

    def trace(self, lm: LanguageModel, known_fact: KnownFact, *, digest: str | None = None) -> Trace:
        """Trace one fact.

        Args:
            lm: the model as it is now.
            known_fact: the prompt, subject and answer.
            digest: that of the weights' `Fingerprint`, if the caller has it.

        Raises:
            InputError: a fact that cannot be traced; see `causal_trace`.

        Warns:
            UnpredictedAnswer: the model says something else.
        """
        return causal_trace(
            lm,
            known_fact.locate(lm),
            known_fact.subject,
            answer=known_fact.answer,
            part=self.part,
            window=self.window,
            sever=self.sever,
            corruption=self.corruption,
            draws=self.draws,
            generator=torch.Generator().manual_seed(self.seed_of(known_fact.prompt)),
            memory=self.memory,
            digest=digest,
        )

    def to_json(self) -> dict[str, Any]:
        """All settings as JSON."""
        return {
            "part": self.part,
            "window": asdict(self.window),
            "sever": self.sever,
            "corruption": self.corruption.settings(),
            "draws": self.draws,
            "seed": self.seed,
            "memory": self.memory,
        }

    @classmethod
    def from_json(cls, entries: dict[str, Any]) -> TracePlan:
        """The plan that `to_json` wrote.

        Raises:
            InputError: a missing, wrong or unknown entry.
        """
        try:
            settings = dict(entries["corruption"])
            corruption = CORRUPTIONS[settings.pop("kind")](**settings)
            window = Window(**entries["window"])
            return cls(**(entries | {"corruption": corruption, "window": window}))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(
                f"these are not the settings of a plan ({error}): expected what TracePlan.to_json gives"
            ) from None


def _check_range(name: str, value: int | None, least: int, most: int | None) -> None:
    if value is not None and (value < least or (most is not None and value > most)):
        bound = f"at least {least}" if most is None else f"from {least} to {most}"
        raise InputError(f"{name} is {value}: expected a number {bound}")
