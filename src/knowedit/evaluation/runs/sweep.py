"""Sweeps over the settings of editors (Appendix D, Figures 13 to 15), kept point by point in one file.

``sweep.jsonl`` is only appended to: one sealed line a point, flushed to the disk before the point counts as
measured. A sweep that was stopped goes on after its last point, and points can be added to it later.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np

from knowedit.editing.fine_tuning.fine_tuning import FineTuning
from knowedit.editing.fine_tuning.known_settings import ATTN_EDIT, FT, FT_L
from knowedit.editing.rome.rome import ROME
from knowedit.errors import FileFormatError, InputError
from knowedit.evaluation.records.record import Record
from knowedit.evaluation.runs.evaluate import records_identity
from knowedit.evaluation.runs.executors import Executor, InProcess
from knowedit.evaluation.runs.folder import Outcome
from knowedit.evaluation.runs.job import EditingPlan, Identity
from knowedit.evaluation.runs.methods import Method, Plain
from knowedit.evaluation.runs.rome_method import RomeMethod
from knowedit.evaluation.runs.sweep_rows import SweepRow
from knowedit.evaluation.scores.columns import COLUMNS
from knowedit.evaluation.scores.record_scores import RecordScores
from knowedit.intervals import bootstrap
from knowedit.runs import Journal, canonical, read_lines, require_same

FILE: Final = "sweep.jsonl"
ADVICE: Final = "restore the file, or remove that line to have its point measured again"
DIGITS: Final = 6
TUNED: Final[dict[str, FineTuning]] = {
    FT: FineTuning.ft(),
    FT_L: FineTuning.ft_l(),
    ATTN_EDIT: FineTuning.attn_edit(),
}
ROME_LABEL: Final = "ROME"
METHODS: Final = (*TUNED, ROME_LABEL)


@dataclass(frozen=True)
class SweepPoint:
    """One setting of an editor; see `SweepRow`."""

    method: str
    layer: int
    bound: float | None = None
    learning_rate: float | None = None

    def editing(self) -> Method:
        """What an evaluation does at this point.

        Raises:
            InputError: no such method, or a setting that it cannot use.
        """
        if self.method == ROME_LABEL:
            return RomeMethod(ROME.paper(layer=self.layer))
        if self.method not in TUNED:
            raise InputError(f"there is no sweep of {self.method!r}: use one of {', '.join(METHODS)}")
        tuned = replace(
            TUNED[self.method], layer=self.layer, bound=self.bound, learning_rate=self.learning_rate
        )
        return Plain(tuned, self.method)

    def __str__(self) -> str:
        told = (("layer", self.layer), ("ε", self.bound), ("rate", self.learning_rate))
        return " ".join([self.method, *(f"{name} {value:g}" for name, value in told if value is not None)])


def sweep_grid(
    methods: Sequence[str], layers: Sequence[int], bounds: Sequence[float], rates: Sequence[float]
) -> list[SweepPoint]:
    """All points of some methods; ε only where a method has one, and rates only where it has one.

    Raises:
        InputError: no such method.
    """
    if unknown := [method for method in methods if method not in METHODS]:
        raise InputError(f"there is no sweep of {unknown[0]!r}: use one of {', '.join(METHODS)}")
    return [
        SweepPoint(method, layer, bound, rate)
        for method, layer in product(methods, layers)
        for bound in (bounds if method in (FT_L, ATTN_EDIT) else (None,))
        for rate in (rates if method in TUNED else (None,))
    ]


@dataclass(frozen=True)
class PointScores:
    """What was found at a point.

    Attributes:
        point: the setting.
        identity: everything that the scores depend on, as in the manifest of an evaluation.
        cases: case ids of the records that were scored.
        columns: of each record, in its own unit and in the order of ``cases``; rounded to 6 digits.
        failed: the error of each record that was not.
        seconds: of one record, edited and scored, on average.
    """

    point: SweepPoint
    identity: dict[str, Any]
    cases: tuple[int, ...]
    columns: dict[str, tuple[float, ...]]
    failed: dict[str, str]
    seconds: float

    def row(self, seed: int = 0) -> SweepRow:
        """The means with their intervals, in per cent.

        Args:
            seed: draws the resamples.
        """
        rng = np.random.default_rng(seed)
        columns = {
            key: bootstrap(values, rng).scaled(COLUMNS[key].scale) for key, values in self.columns.items()
        }
        return SweepRow(**asdict(self.point), columns=columns, n=len(self.cases))


Watch: TypeAlias = Callable[[SweepPoint, int, int], None]
"""Called with a point, the records of it that are done, and all of them."""


@dataclass(frozen=True)
class Sweep:
    """Which points are measured, on which records, and into which file.

    Attributes:
        plan: how a record is measured; its method is replaced by that of each point.
        points: each once.
        records: training records, so that no test record takes part in the choice of a setting.
        file: where the points are kept.
    """

    plan: EditingPlan
    points: Sequence[SweepPoint]
    records: Sequence[Record]
    file: Path

    def gather(
        self, executor: Callable[[EditingPlan], Executor] | None = None, *, watch: Watch | None = None
    ) -> tuple[PointScores, ...]:
        """Measure the points that the file does not have.

        Args:
            executor: where a point's records are measured; by default in this process.
            watch: called at the start of every point and after each of its records.

        Returns:
            The points that were asked for.

        Raises:
            InputError: fewer than two records or a case id twice, a file with one of the points on other records,
                weights or code, one that another process writes to, or a full disk.
            NumericalError: a model that is not what it was once the edits are taken out.
        """
        if len(self.records) < 2:
            raise InputError(f"{len(self.records)} records are too few for an interval: give at least two")
        records = records_identity(self.records)
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with Journal(self.file, ADVICE) as journal:
            there = {one.point: one for one in (_point(line, self.file) for line in journal.records)}
            for point in self.points:
                plan = replace(self.plan, method=point.editing())
                where = InProcess() if executor is None else executor(plan)
                with where.open(plan) as crew:
                    identity = {**crew.identity, "records": records}
                    if point in there:
                        require_same(self.file, there[point].identity, identity)
                        continue
                    outcomes = self._measured(point, crew.measure(self.records), watch)
                there[point] = _scores(point, identity, outcomes)
                journal.append(asdict(there[point]))
        return tuple(there[point] for point in self.points)

    def _measured(self, point: SweepPoint, outcomes: Iterator[Outcome], watch: Watch | None) -> list[Outcome]:
        told, found = watch or (lambda *_: None), list[Outcome]()
        told(point, 0, len(self.records))
        for outcome in outcomes:
            found.append(outcome)
            told(point, len(found), len(self.records))
        return sorted(found, key=lambda one: one.case_id)


def _scores(point: SweepPoint, identity: Identity, outcomes: Sequence[Outcome]) -> PointScores:
    scored = [one for one in outcomes if one.scores is not None]
    failed = {str(one.case_id): str(one.error) for one in outcomes if one.scores is None}
    if len(scored) < 2:
        raise InputError(
            f"at {point} {len(failed)} of {len(outcomes)} records failed, the first with: {next(iter(failed.values()))}"
        )
    rows = [RecordScores.from_json(one.scores or {}).columns for one in scored]
    columns = {key: [row[key] for row in rows] for key in COLUMNS}
    return PointScores(
        point,
        json.loads(canonical(identity)),  # as the file gives it back
        tuple(one.case_id for one in scored),
        {key: _rounded(values) for key, values in columns.items() if None not in values},
        failed,
        round(sum(one.seconds for one in scored) / len(scored), 4),
    )


def _rounded(values: Sequence[float | None]) -> tuple[float, ...]:
    return tuple(round(value or 0.0, DIGITS) for value in values)


def read_sweep(file: Path) -> tuple[PointScores, ...]:
    """The points of a file, in the order in which they were measured.

    Raises:
        InputError: there is no such file.
        FileFormatError: a line is not as it was written.
    """
    if not file.is_file():
        raise InputError(f"there is no file {file}: expected one that knowedit sweep wrote")
    return tuple(_point(content, file) for content in read_lines(file, ADVICE).contents)


def sweep_digest(points: Sequence[PointScores]) -> str:
    """SHA-256 of all points without the seconds, whatever their order."""
    lines = sorted(canonical(asdict(one) | {"seconds": None}) for one in points)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _point(content: Mapping[str, Any], file: Path) -> PointScores:
    try:
        fields = dict(content)
        columns = {key: tuple(values) for key, values in fields.pop("columns").items()}
        point, cases = SweepPoint(**fields.pop("point")), tuple(fields.pop("cases"))
        return PointScores(point=point, cases=cases, columns=columns, **fields)
    except (KeyError, TypeError, AttributeError):
        raise FileFormatError(f"{file} holds a line that is no point of a sweep: give another file") from None
