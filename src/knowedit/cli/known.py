"""``knowedit known``: the facts that a model knows, found by asking it; and where lists of facts come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.markup import escape

from knowedit.cli.output import console, counting_bar, print_json, stderr
from knowedit.errors import InputError
from knowedit.evaluation import TEST_FILE, TRAIN_FILE, load_records
from knowedit.facts import Fact
from knowedit.models import LanguageModel, load
from knowedit.tracing import KnownFact, recall_facts, save_known_facts


def facts_to_ask(lm: LanguageModel, records: Path | None) -> list[Fact]:
    """The facts of a file of records, or of those that come with a bundled model, each once and in order.

    Raises:
        InputError: no records were given and the model brings none, or a file without a record.
    """
    if records is not None:
        found = load_records(records)
    elif lm.folder is not None and (lm.folder / TEST_FILE).is_file():
        found = [record for name in (TEST_FILE, TRAIN_FILE) for record in load_records(lm.folder / name)]
    else:
        raise InputError(f"{lm.name} brings no records of its own: give a file of facts or records")
    if not found:
        raise InputError(f"{records} holds no records: expected at least one")
    return list(dict.fromkeys(record.fact for record in found))


def collect(lm: LanguageModel, facts: Sequence[Fact], limit: int | None) -> list[KnownFact]:
    """What the model knows of ``facts``, as Appendix B.1 has it; at most ``limit``, the first ones.

    Raises:
        InputError: it knows none of them.
    """
    found: dict[KnownFact, None] = {}
    with counting_bar("facts") as bar:
        task = bar.add_task("asking", total=len(facts), note="")
        for known in recall_facts(lm, facts):
            if known is not None:
                found[known] = None
            bar.update(task, advance=1, note=f", {len(found)} known")
            if len(found) == limit:
                break
    if not found:
        raise InputError(f"{lm.name} knows none of {len(facts)} facts: give facts that it knows")
    return list(found)


def run_known(model: str, records: Path | None, limit: int | None, out: Path, *, as_json: bool) -> None:
    """Ask, and write the list."""
    if not out.parent.is_dir() or out.is_dir():
        raise InputError(f"{out} is not a file in a folder that exists: give another path")
    with stderr.status("reading the model"):
        lm = load(model)
    facts = facts_to_ask(lm, records)
    known = collect(lm, facts, limit)
    save_known_facts(known, out)
    if as_json:
        print_json([asdict(fact) for fact in known])
        return
    for fact in known[:5]:
        console.print(f"{escape(fact.prompt)} [bold]{escape(fact.answer)}[/]")
    console.print(f"{len(known):,} known facts written to {escape(str(out))}")
