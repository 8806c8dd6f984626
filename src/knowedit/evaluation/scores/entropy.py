"""GE: how varied the n-grams of generated text are (Section 5.2)."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

WEIGHTS: Final[Mapping[int, float]] = MappingProxyType({2: 1 / 3, 3: 2 / 3})
"""How much bigrams and trigrams count in GE."""

_TOKEN: Final = re.compile(r"\w+(?:['’]\w+)*|[^\w\s]")


def words_and_marks(text: str) -> list[str]:
    """Words, with what an apostrophe joins to them, and every other visible character on its own.

    ``"Rome. It's 3.5"`` has the tokens ``Rome``, ``.``, ``It's``, ``3``, ``.``, ``5``. The released code has
    NLTK's ``word_tokenize``, which needs a download and splits ``It's``: its numbers differ a little.
    """
    return _TOKEN.findall(text)


def _ngram_entropy(tokens: Sequence[Hashable], n: int) -> float:
    """The entropy −Σ f log₂ f of the frequencies of n-grams, in bits; higher is more varied.

    From 0 (one n-gram again and again, or none) to log₂ of the number of n-grams (all different).
    """
    grams = Counter(zip(*(tokens[i:] for i in range(n)), strict=False))
    total = sum(grams.values())
    return max(0.0, -math.fsum(c / total * math.log2(c / total) for c in grams.values()))


def text_entropy(text: str, weights: Mapping[int, float] = WEIGHTS) -> float:
    """GE of one text: ⅓ bigram + ⅔ trigram entropy of `words_and_marks`, in bits; higher is better.

    The released code writes the weights as ⅔ and 4⁄3 and halves the sum, which is the same. Table 2 is × 100.

    Args:
        text: any text.
        weights: n and the weight of the entropy of n-grams.
    """
    tokens = words_and_marks(text)
    return sum(weight * _ngram_entropy(tokens, n) for n, weight in weights.items())
