"""Write the table of all families into docs/families.md. Run: python docs/make_families_table.py [family ...]

For every causal language model of the installed transformers a tiny random one is made (`tests/any_family.py`), opened
by its modules alone, edited, reverted, exported as an adapter and merged. Takes about five minutes on one core. With
names it prints what became of these and writes nothing.
"""

import sys
import tempfile
import warnings
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "families.md"
LARGEST = 4_000_000
"""Parameters; families whose sizes have names of their own are refused by their kind long before."""


def outcome(name: str) -> tuple[str, str]:
    """``passes`` and the anatomy, or why not: a kind, a law, or no small model."""
    sys.path.insert(0, str(ROOT))
    from knowedit.errors import KnoweditError
    from knowedit.models.anatomies.kinds import kind_by_config, refuse_kind
    from tests.any_family import default_config, goes_through, random_model
    from tests.conftest import make_tokenizer

    try:
        refuse_kind(name, kind_by_config(default_config(name)))
        model = random_model(name, most=LARGEST)
    except KnoweditError as refused:
        return "refused", str(refused)
    except Exception as problem:  # whatever a library says about settings that were made smaller
        return "not tried", f"no small model of it could be made: {type(problem).__name__}"
    try:
        with tempfile.TemporaryDirectory() as folder:
            found = goes_through(model, make_tokenizer(), Path(folder)).anatomy
    except KnoweditError as refused:
        return "refused", str(refused)
    except AssertionError:
        return "fails", "an edit or an export is not what it has to be"
    return "passes", described(found)


def described(found) -> str:
    """What an anatomy says that is not the same everywhere."""
    said = [f"`{found.mlp_down}`"]
    if found.mlp not in (found.mlp_down, found.mlp_down.rpartition(".")[0]):
        said.append(f"then `{found.mlp}`")
    if found.residual_scale != 1:
        said.append(f"times {found.residual_scale:.3g}")
    steps = (*found.before_head, *found.after_head)
    return ", ".join(said + [f"logits: {kind} {by:g}" for kind, by in steps])


def short(line: str) -> str:
    """The kind or the law out of a refusal."""
    if line.startswith("law "):
        return line.split(":")[0] + (": bias, factor or norm outside its modules" if line.startswith("law 3") else "")
    words = line.split(" is ", 1)[-1] if " is " in line else line.split(" ", 1)[-1]
    return words.split(";")[0].split(": ")[0].split(" (")[0]


def table(found: dict[str, tuple[str, str]]) -> str:
    """The families that pass, and the others by the reason."""
    passing = {name: words for name, (what, words) in found.items() if what == "passes"}
    lines = [f"{len(passing)} of {len(found)} families pass:", "", "| family | the last projection, and what follows it |", "|---|---|"]
    lines += [f"| `{name}` | {words} |" for name, words in passing.items()]
    reasons: dict[str, list[str]] = {}
    for name, (what, words) in found.items():
        if what != "passes":
            reasons.setdefault(f"{what}: {short(words)}", []).append(f"`{name}`")
    lines += ["", "| the others | families |", "|---|---|"]
    lines += [f"| {reason} ({len(names)}) | {', '.join(names)} |" for reason, names in sorted(reasons.items())]
    return "\n".join(lines)


def main() -> None:
    """Measure, and write the page."""
    warnings.simplefilter("ignore")
    sys.path[:0] = [str(ROOT), str(ROOT / "docs")]
    from make_tables import put
    from tests.any_family import every_family

    found = {}
    for name in sys.argv[1:] or every_family():
        found[name] = outcome(name)
        print(f"{name}: {': '.join(found[name])}", flush=True)
    print(Counter(what for what, _ in found.values()))
    if not sys.argv[1:]:
        PAGE.write_text(put(PAGE.read_text(encoding="utf-8"), "all families", table(found)), encoding="utf-8")


if __name__ == "__main__":
    main()
