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
    with progress(f"opening {model}"):
        lm = knowedit.load(model, device=device, dtype=dtype)
    found = known_facts(lm, records, limit)
    save_known_facts(found, out, force=force)
    if as_json:
        print_json([asdict(fact) for fact in found])
        return
    for fact in found[:5]:
        console.print(f"{safe(fact.prompt)} [bold]{safe(fact.answer)}[/]")
    console.print(f"{len(found):,} known facts written to {safe(out)}")


def known_facts(lm: LanguageModel, records: Path | None, limit: int | None) -> list[KnownFact]:
    """What a model knows of the facts of a file of records, or of its own records, as Appendix B.1 has it.

    Args:
        lm: the model.
        records: a file; None for the records in the model's folder.
        limit: at most this many, the first ones.

    Raises:
        InputError: no records were given and the model has none, or it knows none of their facts.
    """
    from knowedit.tracing import recall_facts

    facts = _facts(lm, records)
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


def _facts(lm: LanguageModel, records: Path | None) -> list[Fact]:
    """Each once and in order."""
    from knowedit.evaluation import TEST_FILE, TRAIN_FILE, load_records

    if records is not None:
        found = load_records(records)
    elif lm.folder is not None and (lm.folder / TEST_FILE).is_file():
        found = [record for name in (TEST_FILE, TRAIN_FILE) for record in load_records(lm.folder / name)]
    else:
        raise InputError(f"{lm.name} has no records of its own: give a file of facts or records")
    if not found:
        raise InputError(f"{records} holds no records: expected at least one")
    return list(dict.fromkeys(record.fact for record in found))
