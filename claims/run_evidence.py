"""The evidence about a model: its runs, checked, and the means of their columns with resamples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from claims.evidence_runs import Source, read_whole
from claims.models import Missing, OpenModel, is_bundled, one_line
from claims.registry import Progress
from claims.settings import Settings
from knowedit.errors import InputError
from knowedit.evaluation import TEST_FILE, Record, RecordScores
from knowedit.evaluation.runs.evidence import Verified, require_alike, verify
from knowedit.evaluation.runs.station import EvaluationStation
from knowedit.evaluation.runs.tables import UNEDITED
from knowedit.evaluation.scores.columns import COLUMNS
from knowedit.evaluation.scores.entropy import text_entropy
from knowedit.intervals import LEVEL, RESAMPLES, Interval

Array: TypeAlias = NDArray[np.float64]

SAMPLE: Final = 4
"""Records of each run that are measured again by default."""


@dataclass(frozen=True, eq=False)
class Means:
    """Mean columns of all records, then of resamples, on the scale of Table 2.

    The resamples draw records, the same ones for every method, so that a difference between methods is one of pairs.

    Attributes:
        columns: method and column to the means, ``(1 + resamples,)``.
        n: records.
    """

    columns: Mapping[tuple[str, str], Array]
    n: int

    def __call__(self, method: str, column: str) -> Array:
        """The means of one column.

        Raises:
            Missing: the records lack what it needs.
        """
        found = self.columns.get((method, column))
        if found is None:
            raise Missing(f"{column} is not measured for every record: give records with the texts it needs")
        return found

    def change(self, method: str, column: str) -> Array:
        """How far a method's mean is above that of the unedited model."""
        return self(method, column) - self(UNEDITED, column)

    def relative(self, method: str, column: str) -> Array:
        """The change in per cent of the unedited model's mean."""
        return 100 * self.change(method, column) / self(UNEDITED, column)

    def interval(self, quantity: Array) -> Interval:
        """The quantity of all records, with its percentile bootstrap interval."""
        low, high = np.quantile(quantity[1:], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        return Interval(float(quantity[0]), float(low), float(high), self.n, "bootstrap")


Scores: TypeAlias = Mapping[str, Sequence[RecordScores]]
"""Method to the scores of the same records in the same order."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """What the claims read.

    Attributes:
        model: its name.
        family: of the model, as transformers names it.
        scores: of the records that failed under no method.
        records: these, in the same order.
        means: of the columns.
        checks: what each run was found to be; empty for scores that come from no run.
        left_out: how many records failed under some method.
    """

    model: str
    family: str
    scores: Scores
    records: Sequence[Record]
    means: Means
    checks: Mapping[str, Verified]
    left_out: int = 0

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


ASKED: Final = "NS of the request"
"""A column for controls: the request itself, which the edit is about, as if it were a neighbour."""
REPEATED: Final = "repeated"
"""A method for controls: GE where every text says the new object over and over."""
REPEATS: Final = 50

Columns: TypeAlias = Mapping[tuple[str, str], Sequence[float]]
"""Method and column to one value a record, on the scale of Table 2."""


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


def resampled(columns: Columns, rng: np.random.Generator, resamples: int = RESAMPLES) -> Means:
    """The means of the columns.

    Raises:
        Missing: fewer than two records.
    """
    n = len(next(iter(columns.values())))
    if n < 2:
        raise Missing(f"an interval needs at least 2 records and there are {n}: make evidence on more")
    draws = rng.multinomial(n, np.full(n, 1 / n), size=resamples)
    weights = np.vstack([np.ones(n), draws]) / n
    values = np.array([columns[key] for key in columns], dtype=np.float64)
    return Means(dict(zip(columns, values @ weights.T, strict=True)), n)


def gather(methods: Sequence[str], model: OpenModel, settings: Settings, progress: Progress) -> Evidence:
    """Read the model's runs of some methods and measure a sample of each again.

    Raises:
        Missing: a run is not there or not finished, or the model lacks something that a method needs.
        Stale: the version of an editor or of the scores is another than a run's.
        InputError: a run is about something else, or is not found again.
        FileFormatError: a file was changed.
    """
    source = source_of(model, settings)
    runs = {method: read_whole(source.folder(method), source.command(method)) for method in methods}
    count = int(runs[methods[0]].identity["records"]["count"])
    records, stations = _open(source, model, methods, count)
    sample = count if settings.full else min(SAMPLE, settings.facts, count)
    checks = {}
    for at, (method, run) in enumerate(runs.items()):
        watch = partial(_step, progress, at * sample, len(runs) * sample)
        checks[method] = verify(run, stations[method], records, sample, settings.seed, watch)
    require_alike(list(checks.values()))
    return evidence(model, records, checks, settings.seed)


def source_of(model: OpenModel, settings: Settings) -> Source:
    """Where the model's evidence and records are."""
    where = model.name if is_bundled(model.name) else str(model.lm.folder or model.lm.name)
    own = None if model.lm.folder is None else model.lm.folder / TEST_FILE
    records = None if own is not None and own.is_file() else settings.records
    return Source(where, settings.evidence, records, settings.statistics, settings.device)


def _open(
    source: Source, model: OpenModel, methods: Sequence[str], count: int
) -> tuple[Sequence[Record], dict[str, EvaluationStation]]:
    """Today's records, and a station for each method; they share the model and the TF-IDF model."""
    try:
        scorer = source.scorer()
        jobs = {method: source.job(method, scorer) for method in methods}
        stations = {method: EvaluationStation.of(job, model.lm) for method, job in jobs.items()}
        return source.first_records(count), stations
    except InputError as error:
        raise Missing(one_line(error)) from error


def _step(progress: Progress, before: int, of: int, done: int, _: int) -> None:
    progress(before + done, of)


def evidence(
    model: OpenModel, records: Sequence[Record], checks: Mapping[str, Verified], seed: int
) -> Evidence:
    """What the claims read, of runs that were checked.

    Raises:
        Missing: fewer than two records were scored under every method.
    """
    scored = {
        method: {
            outcome.case_id: outcome.scores for outcome in found.run.scored if outcome.scores is not None
        }
        for method, found in checks.items()
    }
    kept = [record for record in records if all(record.case_id in found for found in scored.values())]
    scores = {
        method: [RecordScores.from_json(found[record.case_id]) for record in kept]
        for method, found in scored.items()
    }
    means = resampled(columns_of(scores, kept), np.random.default_rng(seed))
    family = str(model.lm.model.config.model_type)
    return Evidence(model.name, family, scores, kept, means, checks, len(records) - len(kept))
