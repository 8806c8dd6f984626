"""What a notebook shows is a line, however large the thing is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from knowedit.models import LanguageModel, PrefixCache, batch, fingerprint, locate, record

SHOWN: dict[str, tuple[Callable[[LanguageModel], Any], str]] = {
    "model": (lambda lm: lm, "LanguageModel('gpt2 in memory', 4 layers, width 32, inner width 128, "),
    "fingerprint": (fingerprint, "Fingerprint(52 tensors, sha256 "),
    "batch": (lambda lm: batch(lm, [[5, 6, 7], [8]]), "Batch(2 rows, 3 tokens, cpu)"),
    "recording": (
        lambda lm: record(lm, [[5, 6]]),
        "Recording('gpt2 in memory', states of 4 blocks, 1 rows, ",
    ),
    "arguments": (lambda lm: record(lm, [[5, 6]], only_arguments=True), "arguments for 4 blocks"),
    "cache": (
        lambda lm: PrefixCache.read(lm, batch(lm, [[5, 6]])),
        "PrefixCache(1 rows, 2 tokens, 4 layers)",
    ),
    "projection": (lambda lm: lm.projection(1), "Projection(layer=1, part='mlp_down'"),
    "prompt": (lambda lm: locate(lm, "{} is", "Paris"), "Prompt(text='Paris is'"),
}


@pytest.mark.parametrize("name", SHOWN)
def test_a_repr_is_a_line(tiny_gpt2: LanguageModel, name: str):
    make, words = SHOWN[name]
    found = repr(make(tiny_gpt2))
    assert words in found
    assert "\n" not in found
    assert len(found) < 160
