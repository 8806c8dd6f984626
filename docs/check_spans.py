"""Find the subject of every record of COUNTERFACT and of the known facts in GPT-2's tokens.

Run: KNOWEDIT_DATA=folder python docs/check_spans.py

The folder holds ``counterfact/counterfact_compact.jsonl``, ``known_1000.json`` and ``gpt2-tokenizer/``. Each subject's
tokens are found from the prompt and the subject alone, decoded again, and compared with the subject. The counts and
every exception are written into docs/spans.md.
"""

import json
import os
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from knowedit.errors import InputError
from knowedit.facts import fill, template_of
from knowedit.models import locate, locate_in

PAGE = Path(__file__).parent / "spans.md"
EXACT = "decode to the subject"
SPACE = "decode to a space and the subject"
SHARED = "the last token also holds the character after the subject"
OTHER = "decode to something else"
KINDS = (EXACT, SPACE, SHARED, OTHER)


@dataclass(frozen=True)
class Row:
    """A text of the data that holds a subject."""

    data: str
    number: int
    text: str
    subject: str
    template: str | None = None


def rows(folder: Path) -> list[Row]:
    """Every prompt and paraphrase of COUNTERFACT, and every known fact."""
    lines = (folder / "counterfact" / "counterfact_compact.jsonl").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    known = json.loads((folder / "known_1000.json").read_text(encoding="utf-8"))
    return (
        [Row("COUNTERFACT prompt", r["case_id"], r["prompt"], r["subject"]) for r in records]
        + [Row("COUNTERFACT paraphrase", r["case_id"], r["rephrase_prompt"], r["subject"]) for r in records]
        + [Row("known fact", r["known_id"], r["prompt"], r["subject"], r["template"]) for r in known]
    )


def decoded(tokenizer, row: Row) -> str:
    """What the tokens found for the subject say."""
    found = locate_in(tokenizer, row.text, row.subject)
    return tokenizer.decode(list(found.ids[found.subject]), clean_up_tokenization_spaces=False)


def kind(row: Row, said: str) -> str:
    """How what the tokens say differs from the subject."""
    if said.lstrip(" ") == row.subject:
        return EXACT if said == row.subject else SPACE
    after = row.text[row.text.index(row.subject) + len(row.subject) :]
    return SHARED if said.lstrip(" ") == row.subject + after[:1] else OTHER


def template_problem(tokenizer, row: Row) -> str | None:
    """Why the text cannot be written as a template, or None. A template must give the same tokens."""
    try:
        template = template_of(row.text, row.subject)
        same = locate(tokenizer, template, row.subject) == locate_in(tokenizer, row.text, row.subject)
    except InputError as error:
        return "braces of its own" if "brace" in str(error) else str(error)
    return None if same and fill(template, row.subject) == row.text else "other tokens than as a text"


def report(folder: Path) -> tuple[str, str]:
    """The table of counts and the table of exceptions, as Markdown."""
    from transformers import GPT2TokenizerFast

    tokenizer = GPT2TokenizerFast.from_pretrained(str(folder / "gpt2-tokenizer"))
    counts, listed = Counter(), []
    for row in rows(folder):
        places, problem = row.text.count(row.subject), template_problem(tokenizer, row)
        said = decoded(tokenizer, row)
        found = kind(row, said)
        counts.update((row.data, name) for name in ("texts", f"in {places} places", found))
        counts[row.data, "longer"] += row.template is not None and fill(row.template, row.subject) != row.text
        counts[row.data, "not ASCII"] += not row.subject.isascii()
        if problem:
            counts[row.data, "no template"] += 1
            listed.append((row, said, f"no template: {problem}; found as a text"))
        if found in (SHARED, OTHER):
            listed.append((row, said, found))
    return counts_table(counts), exceptions_table(listed)


def counts_table(counts: Counter) -> str:
    """One row for each question, one column for each kind of text."""
    data = list(dict.fromkeys(name for name, _ in counts))
    lines = [f"| | {' | '.join(data)} |", "|---|" + "---|" * len(data)]
    questions = {"texts": "texts", "in 1 places": "subject occurs exactly once"}
    questions |= {name: f"tokens {name}" for name in (EXACT, SPACE)}
    questions |= {SHARED: SHARED, OTHER: f"tokens {OTHER}"}
    questions |= {"no template": "cannot be written as a template", "not ASCII": "subjects with other letters than ASCII"}
    questions["longer"] = "text continues after the record's `template` field"
    for key, question in questions.items():
        lines.append(f"| {question} | " + " | ".join(f"{counts[name, key]:,}" for name in data) + " |")
    return "\n".join(lines)


def exceptions_table(listed: list[tuple[Row, str, str]]) -> str:
    """Every text whose subject is not what its tokens say."""
    lines = ["| text | id | subject | its tokens decoded | reason |", "|---|---|---|---|---|"]
    for row, said, reason in listed:
        lines.append(f"| {row.data} | {row.number} | `{row.subject}` | `{said}` | {reason} |")
    return "\n".join(lines)


def main() -> None:
    folder = os.environ.get("KNOWEDIT_DATA")
    if not folder:
        sys.exit("set KNOWEDIT_DATA to the folder with counterfact/, known_1000.json and gpt2-tokenizer/")
    from make_tables import put

    counts, exceptions = report(Path(folder))
    text = put(put(PAGE.read_text(encoding="utf-8"), "span counts", counts), "span exceptions", exceptions)
    PAGE.write_text(text, encoding="utf-8")
    print(counts)


if __name__ == "__main__":
    main()
