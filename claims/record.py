"""What is on record about each claim and model, and what in a run differs from it.

The record is written by people: a verdict, and an explanation that a reader can use. Nothing here changes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from claims.models import is_bundled
from claims.registry import MATRICES, Sections, claims_of
from claims.settings import Settings
from claims.verdicts import Result, Verdict
from knowedit.errors import FileFormatError
from knowedit.reading import checked, read_json

RECORD_FILE = Path(__file__).with_name("record.json")
RECORDED = tuple(verdict for verdict in Verdict if verdict is not Verdict.ERROR)


@dataclass(frozen=True)
class Entry:
    """A verdict on record, and why it is so.

    Attributes:
        verdict: of a run with the default settings.
        explanation: why.
        full: of a run with ``--full``, where that is another.
    """

    verdict: Verdict
    explanation: str
    full: Verdict | None = None

    def expected(self, settings: Settings) -> Verdict:
        """The verdict that a run should find."""
        return self.full if settings.full and self.full is not None else self.verdict


Record = Mapping[tuple[str, str], Entry]
"""Entries by claim id and model name."""


def load_record(path: Path = RECORD_FILE) -> dict[tuple[str, str], Entry]:
    """Read the record: claim id -> model -> {"verdict", "explanation"}, and "full" where that is another verdict.

    Raises:
        FileFormatError: not JSON, an unknown verdict, or an entry without an explanation.
    """
    advice = "expected claim to model to verdict and explanation; restore it"
    claims = checked(dict[str, dict[str, dict[str, Any]]], read_json(path, advice), path, advice)
    return {
        (claim, model): _entry(path, f"{claim} on {model}", entry)
        for claim, models in claims.items()
        for model, entry in models.items()
    }


def _entry(path: Path, place: str, entry: Any) -> Entry:
    verdict, explanation = entry.get("verdict"), entry.get("explanation")
    if verdict not in RECORDED:
        raise FileFormatError(f"{path}: {place} has the verdict {verdict!r}: use {', '.join(RECORDED)}")
    if not isinstance(explanation, str) or not explanation.strip():
        raise FileFormatError(f"{path}: {place} has no explanation: say why the verdict is {verdict}")
    full = entry.get("full")
    if "full" in entry and (full not in RECORDED or full == verdict):
        raise FileFormatError(
            f"{path}: {place} has the full verdict {full!r}: leave it out, or use another than {verdict} of "
            f"{', '.join(RECORDED)}"
        )
    return Entry(Verdict(verdict), explanation.strip(), None if full is None else Verdict(full))


def failures(results: Sequence[Result], record: Record, sections: Sections, settings: Settings) -> list[str]:
    """Why the run fails, one sentence or two each; empty if it does not."""
    proved = {id for id, (section, _) in claims_of(sections).items() if section.proved}
    found = (
        _failure(result, record.get((result.claim, result.model)), result.claim in proved, settings)
        for result in results
    )
    return [text for text in found if text]


def _failure(result: Result, entry: Entry | None, proved: bool, settings: Settings) -> str:
    place, verdict = f"{result.claim} on {result.model}", result.verdict
    needed = result.model == MATRICES or is_bundled(result.model)
    if verdict is Verdict.ERROR:
        return f"{place}: {result.reason}"
    if verdict is Verdict.NOT_MEASURED and not needed:
        return ""
    if proved and verdict in (Verdict.CONTRADICTED, Verdict.INCONCLUSIVE):
        return f"{place} is a theorem and was found {verdict}: the code is wrong"
    if entry is None:
        return f"{place} was found {verdict} and is not on record: explain it there" if needed else ""
    expected = entry.expected(settings)
    return "" if expected is verdict else _difference(place, expected, result, settings)


def _difference(place: str, recorded: Verdict, result: Result, settings: Settings) -> str:
    reason = f" ({result.reason})" if result.reason else ""
    changed = settings.changed()
    hint = f" The record is about the default settings, this run had {', '.join(changed)}." if changed else ""
    return (
        f"{place} is on record as {recorded} and was found {result.verdict}{reason}. "
        f"Find out why before changing {RECORD_FILE.name}.{hint}"
    )
