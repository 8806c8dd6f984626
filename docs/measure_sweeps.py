"""Sweep layers, bounds and learning rates of FT, FT+L and AttnEdit on training records: writes docs/sweeps.json.

    python docs/measure_sweeps.py             goes on where it was stopped
    python docs/measure_sweeps.py --facts 5 --out build/sweeps.json

The settings of the organisms are the points with the largest harmonic mean of ES, PS and NS, so that each baseline
is at its best; test records are never read. The paper's text names no rule. The learning rate is swept too: within
25 steps the paper's, 5e-4, moves a weight by 0.0125 at most, little for models as small as these.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import fmean, harmonic_mean
from typing import Any

from rich.progress import track

import knowedit
from knowedit.editing import FineTuning
from knowedit.evaluation import TRAIN_FILE, Record, load_records, score_record
from knowedit.models import LanguageModel
from knowedit.tensorfile import write_bytes

ORGANISMS = ("organism-gpt2", "organism-gptj")
COLUMNS = ("ES", "EM", "PS", "PM", "NS", "NM")
LAYERS = (0, 2, 5, 8, 10)
RATES = (5e-4, 2e-3)
BOUNDS = (1e-3, 2e-3, 5e-3)


def points() -> Iterator[tuple[str, FineTuning]]:
    """Every point under a readable name: method, layer, learning rate, ε; those at the paper's rate first."""
    for rate in RATES:
        for layer in LAYERS:
            yield f"FT {layer} {rate:g}", replace(FineTuning.ft(layer=layer), learning_rate=rate)
            for eps in BOUNDS:
                for name, make in (("FT+L", FineTuning.ft_l), ("AttnEdit", FineTuning.attn_edit)):
                    editor = replace(make(layer=layer, bound=eps), learning_rate=rate)
                    yield f"{name} {layer} {rate:g} {eps:g}", editor


def measure(lm: LanguageModel, editor: FineTuning, records: list[Record]) -> dict[str, float]:
    """Mean scores over the records, seconds an edit, and the harmonic mean."""
    rows, seconds = [], 0.0
    for record in records:
        begin = time.process_time()
        edit = editor.edit(lm, [record.fact])
        seconds += time.process_time() - begin
        with edit.applied(lm, check="edited"):
            rows.append(score_record(lm, record).columns)
    found = {name: fmean(row[name] for row in rows) for name in COLUMNS}
    score = harmonic_mean([max(found[name], 1e-9) for name in ("ES", "PS", "NS")])
    found |= {"score": score, "seconds": seconds / len(records), "facts": len(records)}
    return {name: round(value, 4) for name, value in found.items()}


def best(rows: dict[str, Any], method: str) -> str:
    """The name of the point with the largest harmonic mean."""
    return max((name for name in rows if name.split()[0] == method), key=lambda name: rows[name]["score"])


def main() -> None:
    """Measure what is not yet in the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--facts", type=int, default=50)
    parser.add_argument("--model", choices=ORGANISMS)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("sweeps.json"))
    options = parser.parse_args()
    found = json.loads(options.out.read_text(encoding="utf-8")) if options.out.is_file() else {}
    for model in [options.model] if options.model else ORGANISMS:
        lm, own = knowedit.load(model), found.setdefault(model, {})
        records = load_records(lm.folder / TRAIN_FILE)[: options.facts]
        for name, editor in track(list(points()), model):
            if own.get(name, {}).get("facts") != options.facts:
                own[name] = measure(lm, editor, records)
                write_bytes(options.out, (json.dumps(found, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
