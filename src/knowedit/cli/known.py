"""``knowedit known``: the facts that a model knows, found by asking it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import knowedit
from knowedit.cli.options import DEFAULT_MODEL, Device, Dtype, Force, Json, Limit, Model, Out, Records
from knowedit.cli.output import check_outputs, console, print_json, progress, safe
from knowedit.errors import InputError

if TYPE_CHECKING:
    from knowedit.facts import Fact
    from knowedit.models import LanguageModel
    from knowedit.tracing import KnownFact


def known(
    out: Out,
    model: Model = DEFAULT_MODEL,
    device: Device = "cpu",
    dtype: Dtype = "float32",
    records: Records = None,
    limit: Limit = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Ask, and write the list."""
    from knowedit.tracing import save_known_facts

    check_outputs(force=force, inputs=[records], out=out)
    given = None if records is None else _facts_of(records)
    with progress(f"opening {model}"):
        lm = knowedit.load(model, device=device, dtype=dtype)
    found = known_facts(lm, given, limit)
    save_known_facts(found, out, force=force)
    if as_json:
        print_json([asdict(fact) for fact in found])
        return
    for fact in found[:5]:
        console.print(f"{safe(fact.prompt)} [bold]{safe(fact.answer)}[/]")
    console.print(f"{len(found):,} known facts written to {safe(out)}")


def known_facts(lm: LanguageModel, facts: list[Fact] | None, limit: int | None) -> list[KnownFact]:
    """What a model knows of the facts that are given, or of its own records, as Appendix B.1 has it.

    Args:
        lm: the model.
        facts: None for those of the records in the model's folder.
        limit: at most this many, the first ones.

    Raises:
        InputError: no facts were given and the model has none, or it knows none of them.
    """
    from knowedit.tracing import recall_facts

    facts = _own_facts(lm) if facts is None else facts
    found: dict[KnownFact, None] = {}
    with progress("asking", "facts") as tell:
        tell(0, len(facts))
        for done, one in enumerate(recall_facts(lm, facts), 1):
            if one is not None:
                found[one] = None
            tell(done, note=f"{len(found)} known")
            if len(found) == limit:
                break
    if not found:
        raise InputError(f"{lm.name} knows none of {len(facts)} facts: give facts that it knows")
    return list(found)


def _own_facts(lm: LanguageModel) -> list[Fact]:
    """Those of the records in a model's folder."""
    from knowedit.evaluation import TEST_FILE, TRAIN_FILE

    if lm.folder is None or not (lm.folder / TEST_FILE).is_file():
        raise InputError(f"{lm.name} has no records of its own: give a file of facts or records")
    return _facts_of(*(lm.folder / name for name in (TEST_FILE, TRAIN_FILE)))


def _facts_of(*files: Path) -> list[Fact]:
    """Each once and in order."""
    from knowedit.evaluation import load_records

    found = [record for file in files for record in load_records(file)]
    if not found:
        raise InputError(f"{files[0]} holds no records: expected at least one")
    facts = list(dict.fromkeys(record.fact for record in found if record.fact.target_true is not None))
    if not facts:
        raise InputError(
            f"no record of {files[0]} has a true object, which is what a model may know: give some that do"
        )
    return facts
