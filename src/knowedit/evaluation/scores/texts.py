"""GE, RS and Essence of one record: generate in one batch, then measure (Section 5.2)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch

from knowedit.errors import InputError
from knowedit.evaluation.records.record import Record
from knowedit.evaluation.scores.entropy import text_entropy
from knowedit.evaluation.scores.perplexity import Likelihood, perplexity, text_likelihoods
from knowedit.evaluation.scores.tfidf import TfIdf
from knowedit.models import LanguageModel


@dataclass(frozen=True)
class TextScores:
    """What was measured on the texts of one record.

    Attributes:
        entropies: of each generated text, in bits; empty where the record has no generation prompts.
        consistency: the cosine of all generated texts together with all reference texts together, or None.
        essence: of each text about the subject; empty where the record has none.
        generated: the texts, or None where they were not kept.
    """

    entropies: tuple[float, ...]
    consistency: float | None
    essence: tuple[Likelihood, ...]
    generated: tuple[str, ...] | None = None

    @property
    def columns(self) -> dict[str, float | None]:
        """GE (bits, the mean over the texts), RS and Essence; None is NOT MEASURED."""
        entropies = self.entropies
        return {
            "GE": math.fsum(entropies) / len(entropies) if entropies else None,
            "RS": self.consistency,
            "Essence": perplexity(self.essence) if self.essence else None,
        }

    def to_json(self) -> dict[str, Any]:
        """Exact."""
        return {
            "entropies": list(self.entropies),
            "consistency": self.consistency,
            "essence": [list(part) for part in self.essence],
            "generated": None if self.generated is None else list(self.generated),
        }

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> TextScores:
        """What `to_json` wrote."""
        generated = entry["generated"]
        return cls(
            tuple(entry["entropies"]),
            entry["consistency"],
            tuple((log, predicted) for log, predicted in entry["essence"]),
            None if generated is None else tuple(generated),
        )


@dataclass(frozen=True)
class TextScorer:
    """Generates texts and measures GE, RS and Essence on a record.

    Attributes:
        tfidf: the TF-IDF model of RS.
        new_tokens: at most this many tokens are generated after each prompt; fewer where the model ends the text.
            The released code generates up to 100 tokens with the prompt's own among them.
        samples: texts for each generation prompt.
        top_k: draw among the k most probable tokens, 5 as in the released code; None for greedy text.
        with_prompt: whether the prompt is part of the text that is measured, as in the released code.
        stop_at_end: whether the end-of-text token ends a text (and is left out). The released code continues after it.
        essence_tokens: at most this many tokens of each essence text are read.
        kept: whether the generated texts are kept, about half of a line; the columns do not need them.
    """

    tfidf: TfIdf
    new_tokens: int = 100
    samples: int = 1
    top_k: int | None = 5
    with_prompt: bool = True
    stop_at_end: bool = True
    essence_tokens: int = 100
    kept: bool = True

    def __post_init__(self) -> None:
        for name in ("new_tokens", "samples", "top_k", "essence_tokens"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name} is {value}: expected at least 1")
        if self.top_k is None and self.samples > 1:
            raise InputError("greedy text is the same every time: give top_k, or one sample")

    @property
    def identity(self) -> dict[str, Any]:
        """The settings as JSON; the TF-IDF model by its digest."""
        plain = {item.name: getattr(self, item.name) for item in fields(self)}
        return plain | {"tfidf": self.tfidf.digest}

    def score(
        self, lm: LanguageModel, record: Record, generator: torch.Generator | None = None
    ) -> TextScores:
        """Generate after the record's prompts and measure; texts that the record lacks are not measured.

        Raises:
            InputError: text is to be drawn and there is no generator.
        """
        generated = self._generate(lm, record, generator)
        references = record.reference_texts or ()
        known = bool(generated and references)
        return TextScores(
            entropies=tuple(map(text_entropy, generated)),
            consistency=self.tfidf.similarity(" ".join(generated), " ".join(references)) if known else None,
            essence=tuple(text_likelihoods(lm, record.essence_texts or (), self.essence_tokens)),
            generated=(generated or None) if self.kept else None,
        )

    def _generate(
        self, lm: LanguageModel, record: Record, generator: torch.Generator | None
    ) -> tuple[str, ...]:
        if self.top_k is not None and generator is None:
            raise InputError("text is to be drawn: give a generator, or top_k=None for greedy text")
        prompts = [prompt for prompt in record.generation_prompts or () for _ in range(self.samples)]
        if not prompts:
            return ()
        texts = lm.generate(
            prompts,
            self.new_tokens,
            generator=generator if self.top_k is not None else None,
            top_k=self.top_k,
            stop_at_eos=self.stop_at_end,
        )
        if self.with_prompt:
            return tuple(texts)
        return tuple(text[len(prompt) :] for text, prompt in zip(texts, prompts, strict=True))
