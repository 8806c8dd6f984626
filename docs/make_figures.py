"""Make every figure of docs/tracing.md: python docs/make_figures.py

Writes docs/figures/*.svg and, with the numbers that are drawn, docs/figures/figures.json. It takes about five minutes on
one core. The growth of time and memory is measured apart, by benchmarks/plot_growth.py.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import torch
from rich.progress import track

import knowedit
from knowedit.editing import ROME, Editor, FineTuning
from knowedit.facts import Fact
from knowedit.models import LanguageModel, fingerprint
from knowedit.writing import write_bytes
from knowedit.tracing import AverageTrace, Trace, TraceSettings, Window, average, causal_trace, load_known_facts
from knowedit.tracing.figures import average_lines, detail, heat_map, save, severing

FOLDER = Path(__file__).with_name("figures")
SEED = 0
FACTS = 40
EXAMPLES = {
    "organism-gpt2": ("In town, the famous {} plays the", "Zoma Sel", "violin"),
    "organism-gptj": ("In the orchestra, {} plays the", "Bika Li", "trumpet"),
}
"""Prompt, subject and the object of the edit; a subject that the model knows."""


def trace(lm: LanguageModel, **how: Any) -> Trace:
    prompt, subject, _ = EXAMPLES[lm.name]
    return causal_trace(lm, prompt, subject, settings=TraceSettings(**how), seed=SEED)


def traces(lm: LanguageModel) -> dict[str, Trace]:
    """Everything that is traced on one organism, by name."""
    prompt, subject, new = EXAMPLES[lm.name]
    window = Window.for_depth(lm.n_layers)
    found = {
        "hidden": trace(lm),
        "mlp": trace(lm, part="mlp", window=window),
        "attention": trace(lm, part="attention", window=window),
    }
    editors: dict[str, Editor] = {"edited": ROME.paper(), "edited by attention": FineTuning.attn_edit()}
    for name, editor in editors.items():
        fact, generator = Fact(subject, prompt, new), torch.Generator().manual_seed(SEED)
        with editor.edit(lm, [fact], generator=generator).applied(lm):
            found[name] = trace(lm)
    return found


def numbers(own: Trace) -> dict[str, Any]:
    return {
        "text": own.text,
        "answer": own.answer,
        "tokens": own.tokens,
        "clean": round(own.clean, 4),
        "corrupted": round(own.corrupted, 4),
        "restored": [[round(value, 4) for value in row] for row in own.restored.tolist()],
    }


def averages(lm: LanguageModel) -> dict[str, AverageTrace]:
    """Everything that is averaged over a seeded sample of the facts that come with an organism, by name."""
    facts = random.Random(SEED).sample(load_known_facts(lm.folder / "known_facts.json"), FACTS)
    digest, window = fingerprint(lm).digest, Window.for_depth(lm.n_layers)
    kinds = {
        "hidden": TraceSettings(),
        "mlp": TraceSettings(part="mlp", window=window),
        "attention": TraceSettings(part="attention", window=window),
        "mlp severed": TraceSettings(sever="mlp"),
        "attention severed": TraceSettings(sever="attention"),
    }
    return {
        name: average(fact.trace(lm, settings, digest=digest) for fact in facts)
        for name, settings in kinds.items()
    }


def rows(own: AverageTrace) -> dict[str, Any]:
    names = [role.value for role in own.roles]
    means = {name: [round(float(v), 4) for v in row] for name, row in zip(names, own.mean, strict=True)}
    scores = {"clean": round(own.clean.mean, 4), "corrupted": round(own.corrupted.mean, 4)}
    return {"facts": own.n_facts, "mean": means} | scores


def draw(name: str, own: dict[str, Trace], over_facts: dict[str, AverageTrace]) -> None:
    hidden = own["hidden"]
    maps = {"before": hidden, "after ROME": own["edited"], "after AttnEdit": own["edited by attention"]}
    titles = [f"{when}: {one.answer.strip()}" for when, one in maps.items()]
    figures = {
        "maps": heat_map(hidden, own["mlp"], own["attention"]),
        "averages": average_lines(*(over_facts[part] for part in ("hidden", "mlp", "attention"))),
        "severing": severing(*(over_facts[name] for name in ("hidden", "mlp severed", "attention severed"))),
        "detail": detail(hidden),
        "edit": heat_map(*maps.values(), titles=titles),
    }
    for kind, figure in figures.items():
        save(figure, FOLDER / f"{kind}-{name}.svg", force=True)


def main() -> None:
    found = {}
    for name in track(EXAMPLES, "tracing"):
        lm = knowedit.load(name)
        own, over_facts = traces(lm), averages(lm)
        draw(name, own, over_facts)
        found[name] = {kind: numbers(one) for kind, one in own.items()}
        found[name]["averages"] = {kind: rows(one) for kind, one in over_facts.items()}
    text = json.dumps(found, ensure_ascii=False)
    write_bytes(FOLDER / "figures.json", (text + "\n").encode(), force=True)


if __name__ == "__main__":
    main()
