"""The evidence for the claims of Sections 5.2 and 5.3: finished runs, verified, and the means of their columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, TypeAlias

import numpy as np

from claims.means import Array, Columns, Means
from claims.models import Missing, OpenModel, one_line
from claims.registry import Measured, Progress
from claims.settings import Settings
from claims.sources import Source
from knowedit.errors import InputError
from knowedit.evaluation import COLUMNS, Record, RecordScores, verify
from knowedit.evaluation.runs.evidence import Verified, require_alike
from knowedit.evaluation.runs.station import EvaluationStation
from knowedit.evaluation.scores.entropy import text_entropy

ROME: Final = "rome"
FT: Final = "ft"
FT_L: Final = "ft+l"
ATTN: Final = "attn-edit"

SAMPLE: Final = 4
"""Records of each run that are measured again by default."""
ASKED: Final = "NS of the request"
"""A column for controls: the request itself, which the edit is about, as if it were a neighborhood prompt."""
REPEATED: Final = "repeated"
"""A method for controls: GE where every text repeats the new object over and over."""
REPEATS: Final = 50

ABOUT: Final = (
    "Read from finished runs, of which a sample was measured again just now; see the claims' notes for their digests "
    "and `docs/claims.md` for how they are made. Test records in the order of the file, each edited alone. Intervals: "
    "percentile bootstrap over records, the same resamples for all methods."
)

Scores: TypeAlias = Mapping[str, Sequence[RecordScores]]
"""Method to the scores of the same records in the same order."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """What the claims read.

    Attributes:
        family: of the model, as transformers names it.
        means: of the columns, over the records that failed under no method.
        checks: what each run was found to be; empty for means that come from no run.
        left_out: how many records failed under some method.
    """

    family: str
    means: Means
    checks: Mapping[str, Verified] = field(default_factory=dict)
    left_out: int = 0

    def measured(self, quantity: Array, control: Array, *notes: str) -> Measured:
        """What a claim found, with the runs that it is read from in its note."""
        note = ". ".join(part for part in (*notes, self.provenance) if part)
        return Measured(self.means.interval(quantity), self.means.interval(control), note)

    @property
    def provenance(self) -> str:
        """Which runs, and how many records were measured again, for the report."""
        if not self.checks:
            return ""
        runs = ", ".join(f"{name} {found.run.digest[:12]}" for name, found in self.checks.items())
        again = sum(len(found.cases) for found in self.checks.values())
        same = sum(found.same_texts for found in self.checks.values())
        left = f", {self.left_out} records that failed are left out" if self.left_out else ""
        return f"runs {runs}; {again} records measured again, {same} with the very same texts{left}"


def gather(methods: Sequence[str], model: OpenModel, settings: Settings, progress: Progress) -> Evidence:
    """Read the model's runs of some methods and measure a sample of each again.

    Raises:
        Missing: a run is not there or not finished, or the model lacks something that a method needs.
        Stale: the version of an editor or of the scores is another than a run's.
        InputError: a run is about something else, or is not found again.
        FileFormatError: a file was changed.
    """
    source = Source.of(model, settings)
    runs = {method: source.read(method) for method in methods}
    count = int(runs[methods[0]].identity["records"]["count"])
    records, stations = _open(source, model, methods, count)
    sample = count if settings.full else min(SAMPLE, settings.facts, count)
    checks = {}
    for at, (method, run) in enumerate(runs.items()):
        watch = partial(_step, progress, at * sample, len(runs) * sample)
        checks[method] = verify(run, stations[method], records, sample, settings.seed, watch)
    require_alike(list(checks.values()))
    scores, kept = scored_by_all(checks, records)
    means = Means.of(columns_of(scores, kept), np.random.default_rng(settings.seed))
    family = str(model.lm.model.config.model_type)
    return Evidence(family, means, checks, len(records) - len(kept))


def _open(
    source: Source, model: OpenModel, methods: Sequence[str], count: int
) -> tuple[Sequence[Record], dict[str, EvaluationStation]]:
    """Today's records, and a station for each method; they share the model and the TF-IDF model."""
    try:
        texts = source.texts()
        jobs = {method: source.job(method, texts) for method in methods}
        stations = {method: EvaluationStation.of(job, model.lm) for method, job in jobs.items()}
        return source.first_records(count), stations
    except InputError as error:
        raise Missing(one_line(error)) from error


def _step(progress: Progress, before: int, of: int, done: int, _: int) -> None:
    progress(before + done, of)


def scored_by_all(
    checks: Mapping[str, Verified], records: Sequence[Record]
) -> tuple[Scores, Sequence[Record]]:
    """The scores by method of the records that failed under none, and these records in the same order."""
    scored = {
        method: {one.case_id: one.scores for one in found.run.scored} for method, found in checks.items()
    }
    kept = [record for record in records if all(record.case_id in found for found in scored.values())]
    scores = {
        method: [RecordScores.from_json(found[record.case_id] or {}) for record in kept]
        for method, found in scored.items()
    }
    return scores, kept


def columns_of(scores: Scores, records: Sequence[Record]) -> Columns:
    """The columns that all records have under a method, and those of the controls."""
    found: dict[tuple[str, str], Sequence[float]] = {}
    for method, of_method in scores.items():
        rows = [one.columns for one in of_method]
        for key, column in COLUMNS.items():
            values = [column.scale * value for row in rows if (value := row[key]) is not None]
            found |= {(method, key): values} if len(values) == len(rows) else {}
        found[method, ASKED] = [100 * one.prompt.swapped().success for one in of_method]
    if all(record.generation_prompts for record in records):
        found[REPEATED, "GE"] = [100 * _repeated_entropy(record) for record in records]
    return found


def _repeated_entropy(record: Record) -> float:
    words = " ".join([record.fact.target_new] * REPEATS)
    return float(np.mean([text_entropy(f"{prompt} {words}") for prompt in record.generation_prompts or ()]))
