"""Write the tables of README.md and of the pages. Run: python docs/make_tables.py [claims-report.json]

The organisms' table comes from the files that ship with them, the families' is measured on the tiny random
models of the tests, and those of the profiles come from the code and from `docs/profiles.json` (see
`docs/measure_profiles.py`). The claims' table comes from a report of
`nox -s claims`, and is left as it is where none is given.
"""

import json
import re
import sys
from pathlib import Path

from knowedit.editing.rome.profiles import NUMBERS
from knowedit.editing.rome.sources import SOURCES, described, sourced_values
from knowedit.bundled import bundled_models, notes

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", "docs/organisms.md", "docs/families.md", "docs/profiles.md")
FORMATS = ("float32", "bfloat16", "float16")
MEASURED = ROOT / "docs" / "profiles.json"


def organisms() -> str:
    """Recall and training of every bundled model."""
    lines = [
        "| model | shape | recall, trained prompts | recall, held-out prompts | edited at layer | grown on | one core took | tokens/s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, folder in bundled_models().items():
        known = notes(folder)
        recipe, recall, training = known["recipe"], known["recall"], known["training"]
        lines.append(
            f"| `{name}` | {recipe['layers']} × {recipe['width']}, {recipe['family']} | {recall['trained']:.1%} "
            f"| {recall['held_out']:.1%} | {known['edit_layer']} | {training['tokens'] / 1e6:.1f} M tokens "
            f"| {training['cpu_seconds'] / 60:.0f} min | {training['tokens_per_cpu_second']:,} |"
        )
    return "\n".join(lines)


def laws() -> dict[tuple[str, str], list[float]]:
    """Family and number format to the largest relative difference of laws 2 to 6."""
    import torch

    sys.path.insert(0, str(ROOT))
    from knowedit.models import FAMILIES, check_anatomy, load
    from tests.conftest import make_model, make_tokenizer

    tokenizer = make_tokenizer()
    return {
        (name, dtype): list(check_anatomy(load((make_model(name).to(getattr(torch, dtype)), tokenizer))).values())
        for name in FAMILIES
        for dtype in FORMATS
    }


def families() -> str:
    """The laws, measured on a tiny random model of every family."""
    lines = ["| family | weights in | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 |", "|---" * 10 + "|"]
    for (name, dtype), errors in laws().items():
        cells = " | ".join("0" if error == 0 else f"{error:.0e}" for error in errors)
        lines.append(f"| `{name}` | {dtype} | holds | {cells} |")
    return "\n".join(lines)


def claims(report: Path) -> str:
    """The measured claims of the bundled models."""
    found = json.loads(report.read_text(encoding="utf-8"))
    lines = ["| claim | model | measured (95 % interval) | the paper's models | expected | verdict |", "|---|---|---|---|---|---|"]
    for result in found["results"]:
        if result["claim"].startswith("rome."):
            low, mean, high = (result["measured"]["value"][key] for key in ("low", "mean", "high"))
            unit = f" {result['unit']}".rstrip()
            bound = result["expectation"]
            lines.append(
                f"| {result['claim']} | `{result['model']}` | {mean:.3g}{unit} ({low:.3g} to {high:.3g}) | {result['paper']} "
                f"| {bound['direction']} {bound['bound']:g}{unit} | {result['verdict']} |"
            )
    return "\n".join(lines)


def profiles() -> str:
    """Every field of every profile; a value is printed where it differs from the one to its left."""
    lines = [f"| | {' | '.join(NUMBERS)} |", "|---" * (len(NUMBERS) + 1) + "|"]
    values = [sourced_values(name) for name in NUMBERS]
    for field in SOURCES:
        cells = [described(own[field][0]) for own in values]
        shown = [cell if not i or cell != cells[i - 1] else "=" for i, cell in enumerate(cells)]
        lines.append(f"| `{field}` | {' | '.join(shown)} |")
    return "\n".join(lines)


def sources() -> str:
    """Where each value comes from."""
    columns = list(next(iter(SOURCES.values())))
    lines = [f"| | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    lines += [f"| `{field}` | {' | '.join(SOURCES[field][c].replace('|', chr(92) + '|') for c in columns)} |" for field in SOURCES]
    return "\n".join(lines)


def measured(model: str) -> str:
    """What each profile and each known bug does on one organism."""
    found = json.loads(MEASURED.read_text(encoding="utf-8"))[model]
    lines = [
        "| | ES | EM | PS | PM | NS | NM | P[o*] with v* | steps | alignment, worst | perplexity × | worst | doubled |",
        "|---" * 13 + "|",
    ]
    for title, row in found.items():
        scores = " | ".join(f"{100 * row[name]:.1f}" for name in ("ES", "EM", "PS", "PM", "NS", "NM"))
        lines.append(
            f"| {title} | {scores} | {row['probability']:.3f} | {row['steps']:.1f} | {row['alignment']:.2f} "
            f"| {row['perplexity']:.3f} | {row['worst_perplexity']:.2f} | {row['doubled']} of {row['facts']} |"
        )
    return "\n".join(lines)


def put(text: str, name: str, table: str) -> str:
    """``text`` with the table between its markers; a page without the markers stays as it is."""
    pattern = rf"(<!-- {name} -->\n).*?(<!-- end of {name} -->)"
    return re.sub(pattern, lambda found: f"{found[1]}\n{table}\n\n{found[2]}", text, flags=re.DOTALL)


def main() -> None:
    tables = {"organisms": organisms(), "families": families(), "profiles": profiles(), "sources": sources()}
    tables |= {f"measured on {model}": measured(model) for model in json.loads(MEASURED.read_text(encoding="utf-8"))}
    if len(sys.argv) > 1:
        tables["claims"] = claims(Path(sys.argv[1]))
    for page in PAGES:
        path = ROOT / page
        text = path.read_text(encoding="utf-8")
        for name, table in tables.items():
            text = put(text, name, table)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
