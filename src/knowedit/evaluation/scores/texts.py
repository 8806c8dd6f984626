"""GE, RS and Essence of one record: generate in one batch, then measure (Section 5.2)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from knowedit.errors import InputError
from knowedit.evaluation.records.record import Record
from knowedit.evaluation.scores.entropy import text_entropy
from knowedit.evaluation.scores.measures import TextMeasures
from knowedit.evaluation.scores.perplexity import TextLikelihood, perplexity, text_likelihoods
from knowedit.models import LanguageModel, generate_texts


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
    essence: tuple[TextLikelihood, ...]
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

    def to_json(self, *, generated: bool = True) -> dict[str, Any]:
        """Exact; without the texts where ``generated`` is false."""
        kept = None if self.generated is None or not generated else list(self.generated)
        return {
            "entropies": list(self.entropies),
            "consistency": self.consistency,
            "essence": [[part.log_probability, part.predicted] for part in self.essence],
            "generated": kept,
        }

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> TextScores:
        """What `to_json` wrote."""
        generated = entry["generated"]
        return cls(
            tuple(entry["entropies"]),
            entry["consistency"],
            tuple(TextLikelihood(log, predicted) for log, predicted in entry["essence"]),
            None if generated is None else tuple(generated),
        )


def score_texts(
    lm: LanguageModel, record: Record, measures: TextMeasures, generator: torch.Generator | None
) -> TextScores:
    """Generate after the record's prompts and measure; texts that the record lacks are not measured.

    Raises:
        InputError: text is to be drawn and there is no generator.
    """
    generated = _generate(lm, record, measures, generator)
    references = record.reference_texts or ()
    return TextScores(
        entropies=tuple(map(text_entropy, generated)),
        consistency=(
            measures.tfidf.similarity(" ".join(generated), " ".join(references))
            if generated and references
            else None
        ),
        essence=tuple(text_likelihoods(lm, record.essence_texts or (), measures.essence_tokens)),
        generated=generated or None,
    )


def _generate(
    lm: LanguageModel, record: Record, measures: TextMeasures, generator: torch.Generator | None
) -> tuple[str, ...]:
    if measures.top_k is not None and generator is None:
        raise InputError("text is to be drawn: give a generator, or top_k=None for greedy text")
    prompts = [prompt for prompt in record.generation_prompts or () for _ in range(measures.samples)]
    if not prompts:
        return ()
    drawn = generator if measures.top_k is not None else None
    texts = generate_texts(
        lm,
        prompts,
        measures.new_tokens,
        generator=drawn,
        top_k=measures.top_k,
        stop_at_eos=measures.stop_at_end,
    )
    if measures.with_prompt:
        return tuple(texts)
    return tuple(text[len(prompt) :] for text, prompt in zip(texts, prompts, strict=True))
