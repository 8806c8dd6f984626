"""Make every table and figure of docs/evaluation.md from the evidence: python docs/make_evaluation.py

Reads claims/evidence and measures nothing.
"""

from __future__ import annotations

import runpy
from pathlib import Path


from knowedit.evaluation import Run, best, make_table, paper_rows, read_run, read_sweep, run_row
from knowedit.evaluation.figures import bars, distributions, save, sweep_lines
from knowedit.evaluation.runs.sweep_points import SweepRow

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "evaluation.md"
FIGURES = ROOT / "docs" / "figures" / "evaluation"
EVIDENCE = ROOT / "claims" / "evidence"
MODELS = {"organism-gpt2": "gpt2-xl", "organism-gptj": "gpt-j"}
"""Each organism, and the model of the paper that it stands for."""
METHODS_SWEPT = ("FT", "FT+L", "AttnEdit", "ROME")
METHODS = ("none", "ft", "ft+l", "attn-edit", "rome")


def runs_of(model: str) -> list[Run]:
    """The runs of a model, unedited first."""
    return [read_run(EVIDENCE / model / method) for method in METHODS]


def sweep_of(model: str) -> list[SweepRow]:
    """Every setting of a model's sweep."""
    return [point.row() for point in read_sweep(EVIDENCE / model / "sweep")[1]]


def table_2(model: str) -> str:
    """The organism's rows above those of the paper."""
    return make_table([*map(run_row, runs_of(model)), *paper_rows(MODELS[model])]).markdown()


def sweep(model: str) -> str:
    """The best setting of every method."""
    rows = sweep_of(model)
    head = "| method | layer | ε | learning rate | ES | PS | NS | S | settings |\n" + "|---" * 9 + "|"
    return "\n".join([head, *(_best(rows, method) for method in METHODS_SWEPT)])


def _best(rows: list[SweepRow], method: str) -> str:
    row = best(rows, method)
    setting = ("–" if value is None else f"{value:g}" for value in (row.layer, row.bound, row.learning_rate))
    means = (f"{row.columns[key].mean:.1f}" for key in ("ES", "PS", "NS"))
    count = sum(other.method == method for other in rows)
    return f"| {' | '.join((method, *setting, *means, f'{row.score:.1f}', str(count)))} |"


def draw(model: str) -> None:
    """Every picture of a model."""
    runs, rows = runs_of(model), sweep_of(model)
    save(bars(make_table(list(map(run_row, runs)))), FIGURES / f"table2-{model}.svg", force=True)
    save(distributions(runs[1:], ("EM", "PM", "NM")), FIGURES / f"distributions-{model}.svg", force=True)
    save(distributions(runs, ("GE", "RS", "Essence")), FIGURES / f"texts-{model}.svg", force=True)
    for name, methods in {"ft": ("FT", "FT+L"), "attn": ("AttnEdit",), "rome": ("ROME",)}.items():
        some = [row for row in rows if row.method in methods]
        save(sweep_lines(some, title=model), FIGURES / f"sweep-{name}-{model}.svg", force=True)


def tables() -> dict[str, str]:
    """Every table of the page by its marker."""
    found = {f"table 2 of {model}": table_2(model) for model in MODELS}
    return found | {f"sweep of {model}": sweep(model) for model in MODELS}


def main() -> None:
    put = runpy.run_path(str(ROOT / "docs" / "make_tables.py"))["put"]
    text = PAGE.read_text(encoding="utf-8")
    for name, table in tables().items():
        text = put(text, name, table)
    PAGE.write_text(text, encoding="utf-8")
    for model in MODELS:
        draw(model)


if __name__ == "__main__":
    main()
