"""Run folders of invented scores, measured in no time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from knowedit.evaluation import Record, RecordScores, Run
from knowedit.evaluation.runs.evaluate import run_job
from knowedit.evaluation.runs.run import Outcome
from knowedit.evaluation.scores.record_scores import Pair
from knowedit.evaluation.scores.texts import TextScores
from knowedit.facts import Fact

METHODS = ("none", "rome", "ft", "ft+l", "attn-edit")
Measure = Callable[[Record], RecordScores]


def make_records(count: int = 12) -> list[Record]:
    return [
        Record(
            case_id=7 * n,
            fact=Fact(f"Name {n}", "{} plays the", "cello", target_true="flute"),
            generation_prompts=(f"At home Name {n}",),
        )
        for n in range(count)
    ]


def pair(new: float, count: int) -> Pair:
    values = torch.full((count,), new, dtype=torch.float64)
    return Pair(values, 1 - values)


def scores(
    record: Record,
    *,
    prompt: float = 0.9,
    paraphrases: float = 0.9,
    neighborhood: float = 0.1,
    entropy: float = 5.0,
    consistency: float = 0.3,
    essence: float = -30.0,
) -> RecordScores:
    """o* with the given probability after each prompt of a kind; texts a little different by the record."""
    little = record.case_id / 1e3
    texts = TextScores(
        entropies=(entropy + little, entropy),
        consistency=consistency + little / 10,
        essence=((essence, 20),),
    )
    return RecordScores(
        pair(prompt, 1), pair(paraphrases, 2), pair(neighborhood, 10), texts, case_id=record.case_id
    )


@dataclass(frozen=True)
class FakeStation:
    """Measures by a function.

    Attributes:
        of: the scores of a record; raises ZeroDivisionError for one that fails.
        changed: entries of the identity that are not the usual ones.
    """

    method: str = "none"
    of: Measure = scores
    changed: Mapping[str, Any] = field(default_factory=dict)

    @property
    def identity(self) -> dict[str, Any]:
        usual = {
            "model": "m" * 64,
            "dtype": "float32",
            "device": "cpu",
            "method": self.method,
            "settings": {"layer": 5, "version": 1},
            "seed": 0,
            "scores": {"probability": "joint", "version": 1},
            "versions": {"torch": "2"},
        }
        return usual | dict(self.changed)

    def measure(self, block: Sequence[Record], _: Callable[[Any], None]) -> tuple[Outcome, ...]:
        return tuple(self.outcome(record) for record in block)

    def outcome(self, record: Record) -> Outcome:
        try:
            return Outcome(record.case_id, self.of(record).to_json(), None, 0.5)
        except ZeroDivisionError:
            return Outcome(record.case_id, None, "ZeroDivisionError: failed", 0.5)

    def check(self) -> None:
        return

    def open(self) -> FakeStation:
        return self


def make_run(folder: Path, station: FakeStation, records: list[Record]) -> Run:
    return run_job(station, records, folder)
