"""A whole heat map beside plain hooks with one whole forward for each cell, in one run and one thread.

    nox -s bench -- -k tracing        or       pytest benchmarks/test_tracing.py -s

The oracle is that of the tests: all draws of a cell in one batch. Times are the best of the rounds, interleaved.
Each figure holds the whole call of `causal_trace`; the digest of the weights is given, as a caller with more
than one trace would.
"""

from __future__ import annotations

import subprocess
import sys
import time

import numpy as np
import pytest
import torch

import knowedit
from knowedit.models import fingerprint, locate
from knowedit.tracing import RelativeNoise, TraceSettings, Window, causal_trace
from knowedit.tracing.causal import MEMORY
from tests.tracing import oracle

ROUNDS = 2
SUBJECT = "Zoma Sel"
# The more tokens before the subject, the more cells need no run: with the subject first none do.
FIRST = "{} lives in the town of today and plays the"
LATER = "In the town of today, the {} plays the"
CASES = {
    "single states": {},
    "single states, subject in the middle": {"template": LATER},
    "single states, MLP severed": {"sever": "mlp"},
    "single states, attention severed": {"sever": "attention"},
    "windows of 3, MLP": {"part": "mlp", "window": Window.paper(3)},
    "windows of 3, attention": {"part": "attention", "window": Window.paper(3)},
    "windows of 3, MLP, attention severed": {
        "part": "mlp",
        "window": Window.paper(3),
        "sever": "attention",
    },
}


def ours(lm, digest, template=FIRST, *, memory=MEMORY, **how):
    settings = TraceSettings(corruption=RelativeNoise(3), **how)
    return causal_trace(lm, template, SUBJECT, settings=settings, seed=0, memory=memory, digest=digest)


def seconds(function):
    begin = time.perf_counter()
    result = function()
    return time.perf_counter() - begin, result


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_a_heat_map_is_faster_than_with_whole_forwards(case, capsys):
    torch.set_num_threads(1)
    lm, how = knowedit.load("organism-gpt2"), dict(CASES[case])
    template = how.pop("template", FIRST)
    digest = fingerprint(lm).digest
    prompt = locate(lm, template, SUBJECT)
    assert len(prompt.ids) == 12
    fast, slow = [], []
    for _ in range(ROUNDS):
        spent, found = seconds(lambda: ours(lm, digest, template, **how))
        fast.append(spent)
        own = lm.module("embedding")(torch.tensor([prompt.ids[prompt.subject]])).detach()
        spoiled, answer = own + found.noise, list(found.answer_ids)
        spent, (_, _, scores) = seconds(
            lambda spoiled=spoiled, answer=answer: oracle.trace(lm, prompt, answer, spoiled, **how)
        )
        slow.append(spent)
    ratio = min(slow) / min(fast)
    difference = float((found.restored_draws - scores).abs().max())
    with capsys.disabled():
        print(
            f"\n{case}: {min(fast):.3f} s, plain hooks {min(slow):.3f} s, ratio {ratio:.1f}; "
            f"largest difference {difference:.1e}"
        )
    assert difference <= 1e-5
    # By counting multiplications, 4.9 is the most for single states with the subject first.
    assert ratio >= {"single states": 4, "single states, subject in the middle": 8}.get(case, 3)


MEASURE_PEAK = """
import pathlib, re, sys, torch, knowedit
sys.path.insert(0, ".")
from benchmarks import test_tracing as b
torch.set_num_threads(1)

def mebibytes(name):
    return int(re.search(name + r":\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1]) / 1024

lm = knowedit.load("organism-gpt2")
b.ours(lm, "", draws=2)
pathlib.Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
before = mebibytes("VmRSS")
b.ours(lm, "", draws=100, memory=int(sys.argv[1]) * 2**20)
print(mebibytes("VmHWM") - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
@pytest.mark.parametrize("mebibytes", [16, 64, 256, 1024])
def test_the_peak_stays_below_what_was_allowed(mebibytes, capsys):
    """Peak resident memory of a process of its own with 100 draws, above that after a small trace."""
    arguments = [sys.executable, "-c", MEASURE_PEAK, str(mebibytes)]
    peak = float(subprocess.run(arguments, capture_output=True, text=True, check=True).stdout)
    with capsys.disabled():
        print(f"\nmemory={mebibytes} MiB: the peak rises by {peak:.0f} MiB")
    # The allocator keeps some of what was freed.
    assert peak <= 1.25 * mebibytes + 16


@pytest.mark.slow
def test_how_time_grows_with_tokens(capsys):
    """Seconds against the tokens from the subject on, and the exponent of a power law through them."""
    torch.set_num_threads(1)
    lm = knowedit.load("organism-gpt2")
    found = {}
    for words in (4, 8, 16, 32):
        template = "{} " + " ".join(["the"] * words)
        size = len(locate(lm, template, SUBJECT).ids)
        found[size] = min(seconds(lambda t=template: ours(lm, "", t))[0] for _ in range(ROUNDS))
    slope = np.polyfit(np.log(list(found)), np.log(list(found.values())), 1)[0]
    with capsys.disabled():
        shown = ", ".join(f"{size} tokens {spent:.2f} s" for size, spent in found.items())
        print(f"\n{shown}: time grows with tokens to the power {slope:.2f}")
    assert slope < 2.5


@pytest.mark.slow
def test_how_time_grows_with_layers(capsys):
    """Random models of the organism's shape with more layers."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.set_num_threads(1)
    organism = knowedit.load("organism-gpt2")
    found = {}
    for layers in (6, 12, 24):
        config = GPT2Config.from_dict(organism.model.config.to_dict() | {"n_layer": layers})
        lm = knowedit.load((GPT2LMHeadModel(config).eval(), organism.tokenizer))
        found[layers] = min(seconds(lambda lm=lm: ours(lm, ""))[0] for _ in range(ROUNDS))
    slope = np.polyfit(np.log(list(found)), np.log(list(found.values())), 1)[0]
    with capsys.disabled():
        shown = ", ".join(f"{layers} layers {spent:.2f} s" for layers, spent in found.items())
        print(f"\n{shown}: time grows with layers to the power {slope:.2f}")
    assert slope < 2.5
