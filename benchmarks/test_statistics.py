"""Key statistics in tokens a second, beside the forward passes that they cannot do without.

    OMP_NUM_THREADS=1 pytest benchmarks/test_statistics.py -s     or     python benchmarks/test_statistics.py

Five ways over the same texts, taking turns in one process; processor time, the least over rounds, which other
work on the machine disturbs least.

- `statistics`: all of it: tokenising, batching, the truncated forward, the sums of k kᵀ in float64;
- `sums`: the same over ready rows, without tokenising;
- `bare`: the truncated forward of the same batches, which keeps nothing. It ends where the sums' does, before
  the last `mlp_down`: no statistics can be faster than this;
- `stopped`: the truncated forward that ends with the layer's module, as the released code's does: it runs
  the last `mlp_down` as well;
- `full`: the whole forward of the same batches, with logits of every token.

What the sums cost beside the forward is arithmetic: d_in² flops a token in float64 (half of a matrix product), as
much time as 2 d_in² in float32, beside 24 width² a block in float32 without attention. For d_in = 4 width that is
32 / 24 = 1.3 blocks' worth of arithmetic, whatever the model: the deeper the layer, the less it matters.
"""

import time
from dataclasses import dataclass

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

import knowedit
from knowedit.editing.statistics.corpus import Position
from knowedit.editing.statistics.key_sums import KeySums, Reading
from knowedit.models import Site, batch, load, visit


@dataclass(frozen=True)
class Speeds:
    """CPU seconds of each way, round by round."""

    model: str
    layer: int
    tokens: int
    seconds: dict[str, list[float]]

    def speed(self, way):
        """Tokens a second."""
        return self.tokens / min(self.seconds[way])

    def ratio(self, way, other):
        """How many times as fast as the other."""
        return self.speed(way) / self.speed(other)


def organism():
    lm = knowedit.load("organism-gpt2")
    return lm, 5, (lm.folder / "statistics.txt").read_text(encoding="utf-8").splitlines(), 5


def gpt2_small():
    """GPT-2 small's shape with random weights, but for the vocabulary, which is the organism's."""
    small, _, texts, _ = organism()
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=small.vocabulary, bos_token_id=0, eos_token_id=0)
    lm = load((GPT2LMHeadModel(config).eval(), small.tokenizer))
    return lm, 8, [" ".join(texts[i : i + 8]) for i in range(0, 16, 8)], 3


def speeds(lm, layer, texts, rounds):
    reading = Reading().resolved(lm)
    held = list(reading.chunks(lm, iter(texts), Position()))
    batches = [batch(lm, [row.ids for row in rows]) for chunk, _ in held for rows in chunk]

    def sums(source):
        keys = KeySums(lm, [layer], "mlp_down")
        for chunk, end in source:
            keys.add(chunk, end)

    def truncated(at):
        for data in batches:
            visit(lm, data, {Site(layer, "mlp_down", at): lambda _value: None})

    def full():
        for data in batches:
            lm.logits(data)

    ways = {
        "statistics": lambda: sums(reading.chunks(lm, iter(texts), Position())),
        "sums": lambda: sums(held),
        "bare": lambda: truncated("input"),
        "stopped": lambda: truncated("output"),
        "full": full,
    }
    seconds = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            start = time.process_time()
            way()
            seconds[name].append(time.process_time() - start)
    return Speeds(lm.name, layer, held[-1][1].tokens, seconds)


def table(rows):
    """The rows as Markdown; speeds in tokens a second."""
    ways = list(rows[0].seconds)
    columns = ["model", "layer", "tokens", *ways, *(f"statistics / {way}" for way in ways[2:])]
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for r in rows:
        cells = [r.model, str(r.layer), f"{r.tokens:,}", *(f"{r.speed(way):,.0f}" for way in ways)]
        cells += [f"{r.ratio('statistics', way):.2f}" for way in ways[2:]]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


@pytest.mark.slow
@pytest.mark.parametrize(("make", "least"), [(organism, 0.8), (gpt2_small, 0.75)])
def test_statistics_cost_little_beside_the_truncated_forward(make, least, capsys):
    found = speeds(*make())
    with capsys.disabled():
        print("\n" + table([found]))
    assert found.ratio("statistics", "stopped") > least
    assert found.ratio("statistics", "full") > 1


if __name__ == "__main__":
    print(table([speeds(*make()) for make in (organism, gpt2_small)]))
