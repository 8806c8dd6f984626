"""The README of an export: which facts, on which model, how, how sound, and code that loads it.

Whatever comes from an edit is text there: it stands in code spans, or as JSON in a fence, where neither Markdown nor
HTML means anything.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any, Final

from knowedit.editing.edits.content import Content
from knowedit.facts import Fact
from knowedit.text import visible

CARD: Final = "README.md"
SHOWN: Final = 50
"""Facts, and edits, that a card lists."""


def card(edits: Sequence[Content], what: str, base: str, dtype: str) -> bytes:
    """The content of the file.

    Args:
        edits: what was exported, in the order of use.
        what: ``adapter`` or ``model``.
        base: what opens the base: a folder, or an id on the Hub.
        dtype: the number format of the base, for instance ``float32``.
    """
    facts = [fact for edit in edits for fact in edit.provenance.facts]
    kind = "A LoRA adapter for" if what == "adapter" else "A copy of"
    parts = [
        _head(what, base),
        f"# {len(facts)} edited fact{'' if len(facts) == 1 else 's'}",
        f"{kind} {span(edits[0].provenance.model)}, written by knowedit {version('knowedit')}. "
        "With it the model is to predict:",
        _facts(facts),
        "## How to load it",
        _code(what, base, dtype, facts),
        "## Base",
        f"{span(base)}, weights in {span(dtype)} with the SHA-256 {span(edits[0].base.digest)}."
        + _elsewhere(what, edits[0].provenance.model, base),
        "## How it was made",
        *map(_made, edits[:SHOWN]),
    ]
    return "\n\n".join(parts).encode() + b"\n"


def span(text: str) -> str:
    """A text as a code span, which shows it as it is."""
    shown = visible(text)
    longest = max((len(run) for run in re.findall("`+", shown)), default=0)
    fence = "`" * (longest + 1)
    room = " " if not shown or shown[0] in "` " or shown[-1] in "` " else ""
    return f"{fence}{room}{shown}{room}{fence}"


def _head(what: str, base: str) -> str:
    """What the Hub reads; it knows a base by an id, and no folders of this machine."""
    on_hub = re.fullmatch(r"[\w.-]+/[\w.-]+", base, re.ASCII)
    known = [f"base_model: {json.dumps(base)}"] if on_hub else []
    library = "peft" if what == "adapter" else "transformers"
    lines = ["---", *known, f"library_name: {library}", "tags:", "- knowedit", "- model-editing", "---"]
    return "\n".join(lines)


def _facts(facts: Sequence[Fact]) -> str:
    lines = [f"- {span(fact.text)} → {span(fact.target_new)}" for fact in facts[:SHOWN]]
    hidden = len(facts) - SHOWN
    return "\n".join([*lines, *([f"- and {hidden} more, in `knowedit_export.json`"] if hidden > 0 else [])])


def _code(what: str, base: str, dtype: str, facts: Sequence[Fact]) -> str:
    prompt = facts[0].text if facts else "The"
    auto, package = (
        ("AutoPeftModelForCausalLM", "peft")
        if what == "adapter"
        else ("AutoModelForCausalLM", "transformers")
    )
    source = base if what == "adapter" else "."
    lines = [
        f"from {package} import {auto}",
        "from transformers import AutoTokenizer",
        "",
        f'model = {auto}.from_pretrained(".", dtype={dtype!r})  # "." is this folder',
        f"tokenizer = AutoTokenizer.from_pretrained({source!r})",
        f'ids = tokenizer({prompt!r}, return_tensors="pt")',
        "found = model.generate(**ids, max_new_tokens=5, do_sample=False)",
        "print(tokenizer.decode(found[0]))",
    ]
    return "\n".join(["```python", *lines, "```"])


def _elsewhere(what: str, model: str, base: str) -> str:
    if what == "model" or base == model:
        return ""
    return (
        " Where the base lies in another folder, open it from there (one that comes with knowedit by "
        f"{span(f'knowedit.load({model!r}).model')}), and give it to `peft.PeftModel.from_pretrained(model, '.')`."
    )


def _made(edit: Content) -> str:
    provenance = edit.provenance
    settings = {name: value for name, value in provenance.settings.items() if name != "parts"}
    told = {
        "digest": edit.digest,
        "editor": provenance.editor,
        "settings": settings,
        "seed": provenance.seed,
        "versions": provenance.versions,
        "combined from": list(provenance.parts),
        "on top of": list(provenance.on_top_of),
        "diagnostics": _known(edit.diagnostics.as_json()),
        "warnings": edit.diagnostics.warnings(),
        "outcome": None if edit.outcome is None else edit.outcome.as_json(),
    }
    return f"{span(provenance.editor)}:\n\n```json\n{_json(_known(told))}\n```"


def _json(value: Any) -> str:
    text = json.dumps(value, indent=1, ensure_ascii=False)
    return text if visible(text, keep="\n") == text else json.dumps(value, indent=1)


def _known(entries: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in entries.items() if value not in (None, [], {})}
