"""Key statistics in tokens a second, beside the forward passes that they cannot do without.

    OMP_NUM_THREADS=1 pytest benchmarks/test_statistics.py -s     or     python benchmarks/test_statistics.py

Four ways over the same texts, taking turns in one process, the median of several rounds:

- `statistics`: all of it: tokenising, batching, the truncated forward, the sums of k kᵀ in float64;
- `sums`: the same over ready batches, without tokenising;
- `truncated`: the bare truncated forward over the same batches: it ends before `mlp_down` and keeps nothing;
- `full`: the whole forward over the same batches, with logits of every token.

What the sums cost beside the forward is arithmetic: d_in² multiplications and additions a token in float64
(half of a matrix product, at half the speed of float32) beside about 12 width² times 2 a block in float32.
"""

import time
from dataclasses import dataclass
from statistics import median

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

import knowedit
from knowedit.editing.key_sums import KeySums
from knowedit.editing.text_chunks import Position, Reading, chunks
from knowedit.models import Site, batch, load, visit

ROUNDS = 5


@dataclass(frozen=True)
class Speeds:
    model: str
    layer: int
    tokens: int
    statistics: float
    sums: float
    truncated: float
    full: float

    @property
    def of_truncated(self):
        return self.statistics / self.truncated


def organism():
    lm = knowedit.load("organism-gpt2")
    return lm, 5, (lm.folder / "statistics.txt").read_text(encoding="utf-8").splitlines()


def gpt2_small():
    """GPT-2 small's shape with random weights, but for the vocabulary, which is the organism's."""
    small, _, texts = organism()
    config = GPT2Config(vocab_size=small.vocabulary)
    torch.manual_seed(0)
    lm = load((GPT2LMHeadModel(config).eval(), small.tokenizer))
    return lm, 8, [" ".join(texts[i : i + 6]) for i in range(0, 24, 6)]


def speeds(lm, layer, texts, rounds=ROUNDS):
    reading = Reading().resolved(lm)
    held = list(chunks(lm, iter(texts), reading, Position()))
    batches = [batch(lm, [row.ids for row in rows]) for chunk in held for rows in chunk.batches(reading)]
    site = Site(layer, "mlp_down", "input")

    def sums(source):
        keys = KeySums(lm, [layer], "mlp_down", reading)
        for chunk in source:
            keys.add(chunk)

    def bare():
        for data in batches:
            visit(lm, data, {site: lambda keys: None})

    def full():
        for data in batches:
            lm.logits(data)

    ways = {
        "statistics": lambda: sums(chunks(lm, iter(texts), reading, Position())),
        "sums": lambda: sums(held),
        "truncated": bare,
        "full": full,
    }
    seconds = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - start)
    tokens = held[-1].end.tokens
    return Speeds(lm.name, layer, tokens, *(tokens / median(seconds[name]) for name in ways))


def table(rows):
    """The rows as Markdown; speeds in tokens a second."""
    head = "| model | layer | tokens | statistics | sums | truncated | full | statistics / truncated | statistics / full |"
    lines = [
        f"| {r.model} | {r.layer} | {r.tokens:,} | {r.statistics:,.0f} | {r.sums:,.0f} | {r.truncated:,.0f} "
        f"| {r.full:,.0f} | {r.statistics / r.truncated:.2f} | {r.statistics / r.full:.2f} |"
        for r in rows
    ]
    return "\n".join([head, "|---" * 9 + "|", *lines])


@pytest.mark.slow
@pytest.mark.parametrize(("make", "least"), [(organism, 0.85), (gpt2_small, 0.75)])
def test_statistics_cost_little_beside_the_truncated_forward(make, least, capsys):
    found = speeds(*make())
    with capsys.disabled():
        print("\n" + table([found]))
    assert found.of_truncated > least
    assert found.statistics > found.full


if __name__ == "__main__":
    print(table([speeds(*make()) for make in (organism, gpt2_small)]))
