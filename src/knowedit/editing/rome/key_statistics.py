"""The statistics of ROME's keys as they may be given: found, read, factorised, and named in an edit's settings."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeAlias

import torch

from knowedit.editing.statistics.second_moments import load_second_moment, second_moment
from knowedit.linalg import FactorisedMoment, SecondMoment
from knowedit.models import LanguageModel, tensor_digest

Statistics: TypeAlias = Path | str | SecondMoment | FactorisedMoment | None


@dataclass(frozen=True, eq=False, repr=False)
class KeyStatistics(FactorisedMoment):
    """A factorised moment that knows what it was made of.

    Attributes:
        tokens: the number of keys, None where that is not known.
        sha256: of the sum of k kᵀ; of C where the sum is not known.
    """

    tokens: int | None
    sha256: str

    @classmethod
    def of(cls, given: Statistics, lm: LanguageModel, layer: int) -> KeyStatistics:
        """The factorised statistics of a layer: those given, or those of the model's folder.

        Raises:
            InputError: there are none, or no such file.
            BaseMismatchError: a file of another model or layer.
            SingularError: statistics of less than full rank.
        """
        if given is None:
            given = second_moment(lm, layer)
        elif isinstance(given, Path | str):
            given = load_second_moment(given, lm, layer)
        if isinstance(given, cls):
            return given
        tokens, sha256 = _origin(given)
        factor = given.factorise() if isinstance(given, SecondMoment) else given
        parts = {field.name: getattr(factor, field.name) for field in fields(FactorisedMoment)}
        return cls(**parts, tokens=tokens, sha256=sha256)

    @staticmethod
    def described(given: Statistics) -> str | dict[str, Any] | None:
        """What settings say of statistics: None, the name of a file, or tokens and SHA-256."""
        if given is None or isinstance(given, Path | str):
            return None if given is None else str(given)
        tokens, sha256 = _origin(given)
        return {"tokens": tokens, "sha256": sha256}


def _origin(moment: SecondMoment | FactorisedMoment) -> tuple[int | None, str]:
    if isinstance(moment, SecondMoment):
        return moment.count, tensor_digest(torch.as_tensor(moment.raw_sum))
    if isinstance(moment, KeyStatistics):
        return moment.tokens, moment.sha256
    return None, tensor_digest(torch.from_numpy(moment.matrix))
