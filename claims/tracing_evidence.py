"""The traces behind the claims of Section 3: some facts traced in every way, more in the plain way, some edited."""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from claims.maps import ROLES, Array, Effects, early
from claims.models import Missing, OpenModel, draw_records
from claims.registry import Progress
from claims.rome import EDITOR, record_seed
from claims.settings import Settings
from claims.tracing_measures import Evidence, Texts
from knowedit.errors import InputError
from knowedit.evaluation import Record
from knowedit.models import Prompt, fingerprint, locate
from knowedit.tracing import (
    Corruption,
    FixedNoise,
    RelativeNoise,
    Role,
    Substitution,
    Trace,
    UnpredictedAnswer,
    Window,
    causal_trace,
)


@dataclass(frozen=True)
class Sizes:
    """How many facts: traced plainly, of these in every way, and of these edited and traced again."""

    plain: int
    every: int
    edited: int


DEFAULT = Sizes(plain=80, every=32, edited=12)
"""About two minutes for each bundled model on one core."""
FULL = Sizes(plain=300, every=300, edited=100)


@dataclass(frozen=True, eq=False)
class Tracer:
    """Traces in one model with what they have in common."""

    model: OpenModel
    seed: int
    digest: str
    window: Window

    def trace(self, record: Record, answer: str, corruption: Corruption, **options: Any) -> Trace:
        fact = record.fact
        return self.run(locate(self.model.lm, fact.prompt, fact.subject), record, answer, corruption, **options)

    def run(
        self, prompt: Prompt, record: Record, answer: str, corruption: Corruption, **options: Any
    ) -> Trace:
        generator = torch.Generator().manual_seed(record_seed(self.seed, record.case_id))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UnpredictedAnswer)  # `predicted` is in the trace
            return causal_trace(
                self.model.lm,
                prompt,
                answer=answer,
                corruption=corruption,
                generator=generator,
                digest=self.digest,
                **options,
            )


def gather(model: OpenModel, settings: Settings, progress: Progress) -> Evidence:
    """Trace what the model knows, then what ROME puts there.

    Raises:
        Missing: no records, or fewer known facts than are needed.
    """
    sizes = FULL if settings.full else DEFAULT
    tracer = Tracer(
        model, settings.seed, fingerprint(model.lm).digest, Window.for_depth(model.lm.n_layers)
    )
    records = draw_records(model, settings)
    plain = _known(tracer, records, min(sizes.plain, len(records)), progress)
    every = plain[: sizes.every]
    ...
