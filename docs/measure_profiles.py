"""Measure every profile of ROME, and every known bug, on both organisms: writes docs/profiles.json.

    python docs/measure_profiles.py            resumes where it was stopped
    python docs/measure_profiles.py --facts 5  a quick look, into build/

Each of the same 100 test records is edited alone at the layer stored with the model, scored, and reverted.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.progress import track

import knowedit
from knowedit.bundled import notes
from knowedit.editing import ROME, Editor, make_editor
from knowedit.evaluation import TEST_FILE, load_records, score_record
from knowedit.linalg import SecondMoment
from knowedit.models import LanguageModel, batch, encode
from knowedit.writing import write_bytes

ORGANISMS = ("organism-gpt2", "organism-gptj")
SEED = 0
TEXTS = 5
COLUMNS = ("ES", "EM", "PS", "PM", "NS", "NM")


@dataclass(frozen=True)
class Variant:
    """One row of the table.

    Attributes:
        title: what the row is called.
        editor: the settings.
        identity: whether the identity stands in place of C.
    """

    title: str
    editor: Editor
    identity: bool = False


def variants(model: str) -> list[Variant]:
    """The profiles, and the paper's settings with one thing done as some public code does it."""
    february = "released-2022-02" if model.endswith("gpt2") else "released-2022-02-gpt-j"
    names = ("paper", "paper-literal-kl", february, "released-2022-10", "consistent-keys", "both-keys")
    paper = ROME.paper()
    return [
        *(Variant(name, make_editor("rome", profile=name)) for name in names),
        Variant("paper, but the value at the bare prompt's key", replace(paper, constraint_key="prompt")),
        Variant("paper, but the divergence at the subject", replace(paper, kl_position="subject")),
        Variant("paper, but the first token of o* alone", replace(paper, target="first")),
        Variant(
            "paper, but no prefixes", replace(paper, prefixes=replace(paper.prefixes, lengths=(), empty=True))
        ),
        Variant("paper, but the identity for C", paper, identity=True),
    ]


@torch.no_grad()
def nll_of_text(lm: LanguageModel, texts: list[str]) -> float:
    """Mean negative log probability of a token of ordinary text."""
    data = batch(lm, [encode(lm.tokenizer, text)[: lm.max_tokens] for text in texts])
    logs = lm.logits(data)[:, :-1].log_softmax(-1)
    found = logs.gather(-1, data.ids[:, 1:, None]).squeeze(-1)
    mask = data.mask[:, 1:].bool()
    return -float(found[mask].mean())


def measure(lm: LanguageModel, variant: Variant, facts: int) -> dict[str, Any]:
    """Mean scores over the records, and what the worst edits do to ordinary text."""
    records = load_records(lm.folder / TEST_FILE)
    records = random.Random(f"profiles {SEED}").sample(records, len(records))[:facts]
    texts = (
        (lm.folder / str(notes(lm.folder)["statistics_text"]))
        .read_text(encoding="utf-8")
        .splitlines()[:TEXTS]
    )
    editor, before = variant.editor, nll_of_text(lm, texts)
    if variant.identity:
        editor = replace(editor, statistics=SecondMoment.from_matrix(torch.eye(lm.inner_width), count=1))
    editor = editor.prepared(lm)
    rows: list[Mapping[str, float]] = []
    for record in track(records, f"{lm.name} {variant.title}"):
        generator = torch.Generator().manual_seed(SEED * 100_000 + record.case_id)
        edit = editor.edit(lm, [record.fact], generator=generator)
        with edit.applied(lm, check="edited"):
            scores, after = score_record(lm, record).columns, nll_of_text(lm, texts)
        figures = {"perplexity": torch.tensor(after - before).exp().item()}
        figures |= {
            name: getattr(edit.diagnostics, name) for name in ("alignment", "residual", "probability", "steps")
        }
        rows.append(dict(scores) | figures)
    return summarised(rows)


def summarised(rows: list[Mapping[str, float]]) -> dict[str, Any]:
    """Means, and for the growth of perplexity the median, the largest and how many doubled."""
    growth = [row["perplexity"] for row in rows]
    found = {name: statistics.fmean(row[name] for row in rows) for name in (*COLUMNS, "probability", "steps")}
    found |= {"alignment": min(row["alignment"] for row in rows)}
    found |= {"residual": statistics.median(row["residual"] for row in rows)}
    found |= {"perplexity": statistics.median(growth), "worst_perplexity": max(growth)}
    found |= {"doubled": sum(g > 2 for g in growth), "facts": len(rows)}
    return {name: round(value, 4) for name, value in found.items()}


def main() -> None:
    """Measure what is not yet in the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--facts", type=int, default=100)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("profiles.json"))
    options = parser.parse_args()
    found = json.loads(options.out.read_text(encoding="utf-8")) if options.out.is_file() else {}
    for model in ORGANISMS:
        lm = knowedit.load(model)
        for variant in variants(model):
            own = found.setdefault(model, {})
            if own.get(variant.title, {}).get("facts") != options.facts:
                own[variant.title] = measure(lm, variant, options.facts)
                write_bytes(options.out, (json.dumps(found, indent=1, ensure_ascii=False) + "\n").encode(), force=True)


if __name__ == "__main__":
    main()
