"""How the time and the memory of a trace grow: python benchmarks/plot_growth.py

Writes docs/figures/growth.json and docs/figures/growth.svg. Hidden states, ten draws, one thread, the shape of
``organism-gpt2``; the time is processor time, the better of two, with the digest given. The exponent is that of a
power law, fitted by least squares on logarithms. Memory is how far the peak of a process rises (Linux only), with
100 draws.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import knowedit  # noqa: E402
from benchmarks.test_tracing import FIRST, MEASURE_PEAK, SUBJECT, ours  # noqa: E402
from knowedit.figures import save, style  # noqa: E402
from knowedit.models import locate  # noqa: E402
from knowedit.writing import write_bytes  # noqa: E402

OUT = ROOT / "docs" / "figures"
ROUNDS = 2
WORDS = (4, 8, 16, 32)
LAYERS = (6, 12, 24)
BOUNDS = (16, 64, 256)


def timed(lm, template: str) -> float:
    return min(_once(lm, template) for _ in range(ROUNDS))


def _once(lm, template: str) -> float:
    """Processor time, which other work on the machine disturbs less than the time of day."""
    begin = time.process_time()
    ours(lm, "", template)
    return time.process_time() - begin


def over_tokens() -> dict[int, float]:
    lm = knowedit.load("organism-gpt2")
    templates = ["{} " + " ".join(["the"] * words) for words in WORDS]
    return {len(locate(lm, text, SUBJECT).ids): timed(lm, text) for text in templates}


def over_layers() -> dict[int, float]:
    from transformers import GPT2Config, GPT2LMHeadModel

    organism, found = knowedit.load("organism-gpt2"), {}
    for layers in LAYERS:
        config = GPT2Config.from_dict(organism.model.config.to_dict() | {"n_layer": layers})
        lm = knowedit.load((GPT2LMHeadModel(config).eval(), organism.tokenizer))
        found[layers] = timed(lm, FIRST)
    return found


def peak(mebibytes: int) -> float:
    command = [sys.executable, "-c", MEASURE_PEAK, str(mebibytes)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout)


def exponent(times: dict[int, float]) -> float:
    return float(np.polyfit(np.log(list(times)), np.log(list(times.values())), 1)[0])


def measure() -> dict[str, dict[int, float]]:
    torch.set_num_threads(1)
    return {
        "tokens": over_tokens(),
        "layers": over_layers(),
        "allowed MiB": {bound: peak(bound) for bound in BOUNDS},
    }


def draw(found: dict[str, dict[int, float]]):
    with style.drawing(width=9.0, height=3.0) as figure:
        panels = zip(figure.subplots(1, 3), found.items(), strict=True)
        for axes, (name, values) in panels:
            axes.loglog(list(values), list(values.values()), color="#332288", marker="o", linewidth=1.2)
            memory = name == "allowed MiB"
            axes.set_ylabel("rise of the peak (MiB)" if memory else "processor seconds")
            axes.set_xlabel(name)
            axes.set_xticks(list(values), [str(value) for value in values])
            heights = list(values.values())  # the measured ones: a power of ten would be a formula
            axes.set_yticks(
                heights, [f"{height:.2g}" if height < 10 else f"{height:.0f}" for height in heights]
            )
            axes.minorticks_off()
            axes.set_title("memory, 100 draws" if memory else f"power {exponent(values):.2f}")
            if memory:
                axes.plot(list(values), list(values), color="black", linestyle=":", linewidth=1)
        return figure


def main() -> None:
    found = {
        name: {key: round(value, 3) for key, value in values.items()} for name, values in measure().items()
    }
    power = {name: round(exponent(found[name]), 2) for name in ("tokens", "layers")}
    write_bytes(
        OUT / "growth.json", (json.dumps(found | {"power": power}, indent=1) + "\n").encode(), force=True
    )
    save(draw(found), OUT / "growth.svg", force=True)


if __name__ == "__main__":
    main()
