"""Make every table and figure of docs/evaluation.md from the evidence: python docs/make_evaluation.py

Reads claims/evidence and measures nothing.
"""

from __future__ import annotations

import runpy
from pathlib import Path

from knowedit.evaluation import make_table, paper_rows, read_run, read_sweep, run_row
from knowedit.evaluation.figures import bars, distributions, save, sweep_lines
from knowedit.evaluation.sweep_rows import SweepRow, best
from knowedit.evaluation.table_text import markdown

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "evaluation.md"
FIGURES = ROOT / "docs" / "figures"
EVIDENCE = ROOT / "claims" / "evidence"
MODELS = {"organism-gpt2": "gpt2-xl", "organism-gptj": "gpt-j"}
"""Each organism, and the model of the paper that it stands for."""
METHODS = ("none", "ft", "ft+l", "attn-edit", "rome")


def table_2(model: str) -> str:
    """The organism's rows above those of the paper, and the pictures of its runs."""
    runs = [read_run(EVIDENCE / model / method) for method in METHODS]
    rows = [run_row(run) for run in runs]
    save(bars(make_table(rows)), FIGURES / f"table2-{model}.svg")
    save(distributions(runs[1:], ("EM", "PM", "NM")), FIGURES / f"distributions-{model}.svg")
    save(distributions(runs, ("GE", "RS", "Essence")), FIGURES / f"texts-{model}.svg")
    return markdown(make_table([*rows, *paper_rows(MODELS[model])]))


def sweep(model: str) -> str:
    """The best setting of every method, and the pictures of the sweep."""
    rows = [point.row() for point in read_sweep(EVIDENCE / model / "sweep.jsonl")]
    methods = list(dict.fromkeys(row.method for row in rows))
    for name, some in {"ft": methods[:2], "attn": methods[2:3], "rome": methods[3:]}.items():
        save(sweep_lines([row for row in rows if row.method in some]), FIGURES / f"sweep-{name}-{model}.svg")
    head = "| method | layer | ε | learning rate | ES | PS | NS | S | settings |\n" + "|---" * 9 + "|"
    return "\n".join([head, *(_best(rows, method) for method in methods)])


def _best(rows: list[SweepRow], method: str) -> str:
    row = best(rows, method)
    setting = ("–" if value is None else f"{value:g}" for value in row.setting.values())
    means = (f"{row.columns[key].mean:.1f}" for key in ("ES", "PS", "NS"))
    count = sum(other.method == method for other in rows)
    return f"| {' | '.join((method, *setting, *means, f'{row.score:.1f}', str(count)))} |"


def main() -> None:
    put = runpy.run_path(str(ROOT / "docs" / "make_tables.py"))["put"]
    text = PAGE.read_text(encoding="utf-8")
    for model in MODELS:
        text = put(text, f"table 2 of {model}", table_2(model))
        text = put(text, f"sweep of {model}", sweep(model))
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
