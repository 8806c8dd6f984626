"""What to measure on a record: which probability, and whether to generate text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from knowedit.errors import InputError
from knowedit.evaluation.scores.tfidf import TfIdf

Probability = Literal["joint", "per-token"]


@dataclass(frozen=True)
class TextMeasures:
    """How GE, RS and Essence are measured.

    Attributes:
        tfidf: the TF-IDF model of RS.
        new_tokens: so many tokens are generated after each prompt, or fewer where the model ends the text.
            The released code generates up to 100 tokens with the prompt's own among them.
        samples: texts for each generation prompt.
        top_k: draw among the k most probable tokens, 5 as in the released code; None for greedy text.
        with_prompt: whether the prompt is part of the text that is measured, as in the released code.
        stop_at_end: whether the end-of-text token ends a text (and is left out). The released code goes on.
        essence_tokens: essence texts are cut after so many tokens each.
    """

    tfidf: TfIdf
    new_tokens: int = 100
    samples: int = 1
    top_k: int | None = 5
    with_prompt: bool = True
    stop_at_end: bool = True
    essence_tokens: int = 100

    def __post_init__(self) -> None:
        for name in ("new_tokens", "samples", "top_k", "essence_tokens"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name} is {value}: expected at least 1")
        if self.top_k is None and self.samples > 1:
            raise InputError("greedy text is the same every time: give top_k, or one sample")


@dataclass(frozen=True)
class Measures:
    """What `score_record` measures.

    Attributes:
        probability: ``joint`` is P[o | p] of all the object's tokens (Section 5.2); ``per-token`` is its
            geometric mean over the tokens, as in the released code.
        texts: None to generate no text.
    """

    probability: Probability = "joint"
    texts: TextMeasures | None = None

    def __post_init__(self) -> None:
        if self.probability not in get_args(Probability):
            raise InputError(f"the probability is {self.probability!r}: expected joint or per-token")
