"""The report of a run: a table on the screen, Markdown to read, JSON to compute with."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.table import Table

from claims.record import Record
from claims.registry import Claim, Section, Sections, claims_of
from claims.settings import Settings
from claims.verdicts import Result, Verdict
from knowedit.intervals import Interval
from knowedit.writing import write_bytes

NAME = "claims-report"
COLUMNS = ("Claim", "Place", "Model", "Measured (95 % interval)", "Paper", "Expected", "Control", "Verdict")
STYLES = {
    Verdict.PROVED: "bold green",
    Verdict.HOLDS: "green",
    Verdict.CONTRADICTED: "bold red",
    Verdict.INCONCLUSIVE: "yellow",
    Verdict.NOT_MEASURED: "dim",
    Verdict.STALE: "magenta",
    Verdict.ERROR: "bold white on red",
}


@dataclass(frozen=True)
class Report:
    """What is reported about a run.

    Attributes:
        sections: the claims that were asked for.
        results: what was found.
        failures: why the run fails; empty if it does not.
        record: what was known before.
        settings: of the run.
    """

    sections: Sections
    results: Sequence[Result]
    failures: Sequence[str]
    record: Record
    settings: Settings

    @property
    def summary(self) -> str:
        """One line: how many of each verdict, and whether all is as on record."""
        counts = Counter(result.verdict for result in self.results)
        found = ", ".join(f"{counts[verdict]} {verdict}" for verdict in Verdict if counts[verdict])
        state = f"{len(self.failures)} to look into" if self.failures else "nothing to look into"
        return f"Results: {found or 'none'}; {state}."

    def of(self, section: Section[Any]) -> list[Result]:
        """The results of a section, by claim and then by model."""
        return [result for claim in section.claims for result in self.results if result.claim == claim.id]

    def write(self, folder: Path) -> list[Path]:
        """Write both files, each atomically.

        Raises:
            InputError: the folder does not exist.
        """
        texts = {
            ".json": json.dumps(self.as_json(), indent=2, ensure_ascii=False) + "\n",
            ".md": self.markdown(),
        }
        paths = [folder / f"{NAME}{suffix}" for suffix in texts]
        for path, text in zip(paths, texts.values(), strict=True):
            write_bytes(path, text.encode(), force=True)
        return paths

    def as_json(self) -> dict[str, Any]:
        """Everything, as JSON."""
        return {
            "summary": self.summary,
            "failures": list(self.failures),
            "settings": self.settings.as_json(),
            "versions": {name: version(name) for name in ("knowedit", "torch", "transformers")},
            "results": [self._entry(result) for result in self.results],
        }

    def _entry(self, result: Result) -> dict[str, Any]:
        claim = claims_of(self.sections)[result.claim][1]
        described = ("place", "statement", "quantity", "unit", "paper")
        entry = self.record.get((result.claim, result.model))
        return {
            **asdict(result),
            **{name: getattr(claim, name) for name in described},
            "expectation": asdict(claim.expectation),
            "control": claim.control,
            "on_record": None if entry is None else asdict(entry),
        }

    def markdown(self) -> str:
        """The report to read."""
        parts = ["# The paper's claims, measured", self.summary, self._settings_line()]
        if self.failures:
            parts += ["## To look into", "\n".join(f"- {_cell(text)}" for text in self.failures)]
        for section in self.sections:
            if self.of(section):
                parts += self._section(section)
        return "\n\n".join(parts) + "\n"

    def _settings_line(self) -> str:
        chosen = self.settings
        return f"{chosen.facts} records a model, seed {chosen.seed}, on {chosen.device}. " + (
            "A verdict counts only where the control, which is wrong on purpose, misses the expectation clearly."
        )

    def _section(self, section: Section[Any]) -> Iterator[str]:
        yield f"## {section.title}"
        yield section.about
        rows = [self._row(result) for result in self.of(section)]
        header = ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
        yield "\n".join(
            [*header, *("| " + " | ".join(_cell(cell) or "–" for cell in row) + " |" for row in rows)]
        )
        yield "\n".join(self._explained(claim) for claim in section.claims)

    def _explained(self, claim: Claim[Any]) -> str:
        lines = [
            f"- **{claim.id}**: {claim.statement} *Measured:* {claim.quantity}{claim.unit and f', in {claim.unit}'}. "
            f"*Control:* {claim.control}."
        ]
        for result in self.results:
            if result.claim == claim.id and (why := self._why(result)):
                lines.append(f"    - {result.model}: {why}")
        return "\n".join(lines)

    def _why(self, result: Result) -> str:
        entry = self.record.get((result.claim, result.model))
        note = result.measured.note if result.measured else ""
        known = entry.explanation if entry else ""
        return " ".join(_cell(text).rstrip(".") + "." for text in (result.reason, note, known) if text)

    def _row(self, result: Result) -> tuple[str, ...]:
        claim = claims_of(self.sections)[result.claim][1]
        measured = result.measured
        if result.model in claim.theorems:
            return (claim.id, claim.place, result.model, "", "", "", "", str(result.verdict))
        return (
            claim.id,
            claim.place,
            result.model,
            interval_text(measured.value, claim) if measured else "",
            claim.paper,
            expected_text(claim),
            number_text(measured.control.mean, claim) if measured else "",
            str(result.verdict),
        )

    def table(self) -> Table:
        """For the screen."""
        table = Table(*COLUMNS, title="The paper's claims, measured", row_styles=["", "on grey11"])
        for section in self.sections:
            for result in self.of(section):
                *cells, verdict = self._row(result)
                table.add_row(*cells, f"[{STYLES[result.verdict]}]{verdict}[/]")
            table.add_section()
        return table


def interval_text(found: Interval, claim: Claim[Any]) -> str:
    """For instance ``97.0 % [91.5, 99.0], n = 100``; an exact number has no interval."""
    number = number_text(found.mean, claim)
    if found.low == found.mean == found.high:
        return f"{number}, n = {found.n}"
    low, high = (_signed(format(end, claim.digits)) for end in (found.low, found.high))
    return f"{number} [{low}, {high}], n = {found.n}"


def expected_text(claim: Claim[Any]) -> str:
    """For instance ``≥ 95 %``."""
    sign = {"at least": "≥", "at most": "≤"}[claim.expectation.direction]
    return f"{sign} {_signed(format(claim.expectation.bound, 'g'))} {claim.unit}".rstrip()


def number_text(value: float, claim: Claim[Any]) -> str:
    """The number with the claim's digits and unit."""
    return f"{_signed(format(value, claim.digits))} {claim.unit}".rstrip()


def _signed(text: str) -> str:
    mantissa, e, exponent = text.partition("e")
    return mantissa.replace("-", "−") + e + exponent


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
