"""Sweeps over the fields of an editor (Appendix D, Figures 13 to 15), in a folder with one sealed line a setting."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from itertools import islice, product
from pathlib import Path
from typing import Any, Final, TypeAlias

from knowedit.editing.editor import label_of
from knowedit.editing.editors import make_editor
from knowedit.errors import InputError, NumericalError
from knowedit.evaluation.records.record import TRAIN_FILE, Record, iter_records
from knowedit.evaluation.runs.evaluate import chosen_workers, records_identity, records_of
from knowedit.evaluation.runs.run import Outcome
from knowedit.evaluation.runs.station import (
    EvaluationJob,
    EvaluationStation,
    blocks_of,
    editor_identity,
)
from knowedit.evaluation.runs.sweep_points import ADVICE, KIND, LINES, SCHEMA, TITLE, SweepPoint
from knowedit.evaluation.scores.columns import Column
from knowedit.evaluation.scores.record_scores import RecordScores
from knowedit.evaluation.scores.scorer import Scorer
from knowedit.models import LanguageModel
from knowedit.runs import RunFolder, WorkerDied, Workers, differences, open_pool

DIGITS: Final = 6
BLOCK: Final = 1
"""Records that are one item of a worker."""

Watch: TypeAlias = Callable[[str, int, int], None]
"""Called with a setting as text, the records of it that are done, and all of them."""


@dataclass(frozen=True)
class Sweep:
    """Which settings of an editor are measured, on which records, and into which folder.

    A folder belongs to one set of records, one model and one kind of scores; it may hold sweeps of several editors,
    and settings can be added to it later.

    Attributes:
        model: see `evaluate`.
        editor: a name of `EDITORS`, or a dataclass with ``edit``.
        grid: the values of each field that is varied; every combination is measured.
        out: the folder.
        records: training records, so that no test record takes part in the choice of a setting; see `evaluate`. By
            default those in the model's folder.
        limit: at most this many records, the first.
        seed: see `evaluate`.
        scorer: see `evaluate`.
        device: see `evaluate`.
        dtype: see `evaluate`.
    """

    model: str | LanguageModel
    editor: Any
    grid: Mapping[str, Sequence[Any]]
    out: Path
    records: Path | str | Sequence[Record] | None = None
    limit: int | None = None
    seed: int = 0
    scorer: Any = field(default_factory=Scorer)
    device: str = "cpu"
    dtype: str | None = None

    def run(
        self, *, workers: int | Workers = 1, ray: str | None = None, watch: Watch | None = None
    ) -> tuple[SweepPoint, ...]:
        """Measure the settings that the folder does not have.

        Args:
            workers: see `evaluate`.
            ray: see `evaluate`.
            watch: called at the start of every setting and after each of its records.

        Returns:
            The settings that were asked for.

        Raises:
            InputError: a field that the editor does not have; fewer than two records or a case id twice; a folder of
                other records or another model, or with one of the settings measured otherwise; one that another
                process writes to; a full disk; a setting at which fewer than two records could be scored.
            NumericalError: a model that is not what it was once the edits are removed; the sweep is condemned.
        """
        records = self._chosen_records()
        settings = self._settings()
        identity, blocks = records_identity(records), blocks_of(records, BLOCK)
        job = _SweepJob(EvaluationJob(self.model, None, self.seed, self.scorer, self.device, self.dtype))
        folder = RunFolder(Path(self.out), KIND, SCHEMA, TITLE, lines=LINES, advice=ADVICE)
        where = chosen_workers(self.model, workers, ray, self.device)
        with folder, open_pool(job, where, len(settings) * len(blocks)) as pool:
            contents = folder.begin(
                {**pool.identity, "block": BLOCK, "records": identity}, {"model": job.job.model_name}
            )
            there = {one.key: one for one in (SweepPoint.from_json(line, folder.path) for line in contents)}
            waiting = [one for one in settings if not one.is_there(there, folder.path)]
            collected = [_Collected(one, len(records), watch) for one in waiting]
            items = [(number, one.editor, block) for number, one in enumerate(waiting) for block in blocks]
            try:
                for (number, _, block), result in pool.measure(items):
                    point = collected[number].add(block, result)
                    if point is not None:
                        folder.append(point.to_json())
                        there[point.key] = point
            except NumericalError as error:
                folder.update(condemned=str(error))
                raise
        return tuple(there[one.key] for one in settings)

    def _settings(self) -> list[_Setting]:
        """Every combination of the grid.

        Raises:
            InputError: no such editor, or a field that it does not have.
        """
        settings = (dict(zip(self.grid, values, strict=True)) for values in product(*self.grid.values()))
        return [_Setting(self._editor(setting), setting) for setting in settings]

    def _editor(self, setting: Mapping[str, Any]) -> Any:
        if isinstance(self.editor, str):
            return make_editor(self.editor, **setting)
        known = [one.name for one in fields(self.editor)] if is_dataclass(self.editor) else []
        if unknown := [name for name in setting if name not in known]:
            raise InputError(
                f"{unknown[0]!r} is no field of {label_of(self.editor)}, which has {', '.join(known) or 'none'}"
            )
        return replace(self.editor, **setting)

    def _chosen_records(self) -> list[Record]:
        source = records_of(self.model, self.records, TRAIN_FILE)
        every = iter_records(source) if isinstance(source, Path) else source
        found = list(islice(every, self.limit))
        if len(found) < 2:
            raise InputError(f"{len(found)} records are too few for an interval: give at least two")
        _require_judged(found)
        return found


def _require_judged(records: Sequence[Record]) -> None:
    """Refuse records by which no setting can be judged the best.

    Raises:
        InputError: one without a true object, paraphrases or neighborhood prompts.
    """
    for record in records:
        lacks = {
            "true object": record.fact.target_true,
            "paraphrase": record.paraphrase_prompts,
            "neighborhood prompt": record.neighborhood_prompts,
        }
        if missing := [name for name, found in lacks.items() if not found]:
            raise InputError(
                f"record {record.case_id} has no {' and no '.join(missing)}, and a sweep judges settings by ES, PS and "
                "NS: give records that have them, such as COUNTERFACT's"
            )


@dataclass(frozen=True)
class _Setting:
    """A setting that is asked for."""

    editor: Any
    setting: dict[str, Any]

    @property
    def asked(self) -> dict[str, Any]:
        return dict(editor_identity(self.editor)["settings"])

    @property
    def method(self) -> str:
        return label_of(self.editor)

    @property
    def key(self) -> str:
        return SweepPoint.key_of(self.method, self.setting)

    def is_there(self, there: Mapping[str, SweepPoint], folder: Path) -> bool:
        """Whether it was measured.

        Raises:
            InputError: with other settings of the rest, or by another version of the editor.
        """
        if self.key not in there:
            return False
        if listed := differences(there[self.key].asked, self.asked):
            raise InputError(
                f"{folder} has {there[self.key]} with other settings: {listed}; ask for the same, or give another "
                "folder"
            )
        return True


class _Collected:
    """The outcomes at a setting, until all are there."""

    def __init__(self, asked: _Setting, total: int, watch: Watch | None):
        self._asked, self._total, self._watch = asked, total, watch
        self._settings = asked.asked
        self._outcomes: list[Outcome] = []

    def add(self, block: tuple[Record, ...], result: _Measured | WorkerDied) -> SweepPoint | None:
        """Add what was found on a block; the point, if it was the last.

        Raises:
            InputError: fewer than two records could be scored.
        """
        if not self._outcomes:
            self._tell()
        if isinstance(result, WorkerDied):
            self._outcomes += [Outcome.died(record.case_id, result.reason) for record in block]
        else:
            self._settings = result[0]
            self._outcomes += result[1]
        self._tell()
        return self._point() if len(self._outcomes) == self._total else None

    def _tell(self) -> None:
        if self._watch is not None:
            told = SweepPoint.text(self._asked.method, self._asked.setting)
            self._watch(told, len(self._outcomes), self._total)

    def _point(self) -> SweepPoint:
        outcomes = sorted(self._outcomes, key=lambda one: one.case_id)
        scored = [one for one in outcomes if one.scores is not None]
        failed = {str(one.case_id): str(one.error) for one in outcomes if one.scores is None}
        method, setting = self._asked.method, self._asked.setting
        if len(scored) < 2:
            raise InputError(
                f"at {SweepPoint.text(method, setting)} {len(failed)} of {len(outcomes)} records failed, the first "
                f"with: {next(iter(failed.values()))}"
            )
        rows = [RecordScores.from_json(one.scores or {}).columns for one in scored]
        columns = {key: [row.get(key) for row in rows] for key in Column.keys(rows)}
        return SweepPoint(
            method,
            setting,
            self._asked.asked,
            self._settings,
            tuple(one.case_id for one in scored),
            {key: _rounded(values) for key, values in columns.items() if None not in values},
            failed,
            round(sum(one.seconds for one in scored) / len(scored), 4),
        )


def _rounded(values: Sequence[float | None]) -> tuple[float, ...]:
    return tuple(round(value or 0.0, DIGITS) for value in values)


_Measured: TypeAlias = tuple[dict[str, Any], tuple[Outcome, ...]]
"""The settings of the prepared editor, and the outcomes."""
_Item: TypeAlias = tuple[int, Any, tuple[Record, ...]]
"""The number of a setting, its editor, and a block of records."""


@dataclass(frozen=True)
class _SweepJob:
    """Measures blocks at settings; the model is opened once."""

    job: EvaluationJob

    def open(self) -> _SweepStation:
        return _SweepStation(EvaluationStation.of(self.job, self.job.load()))


class _SweepStation:
    """Holds the editor of the last setting, prepared."""

    def __init__(self, unedited: EvaluationStation):
        self._unedited = self._station = unedited
        self._settings: dict[str, Any] = {}
        self._number = -1

    @property
    def identity(self) -> dict[str, Any]:
        """That of an evaluation without its editor."""
        found = self._unedited.identity
        return {name: value for name, value in found.items() if name not in ("method", "settings")}

    def measure(self, item: _Item, _: Callable[[Any], None]) -> _Measured:
        number, editor, block = item
        if number != self._number:
            self.check()
            job = replace(self._unedited.job, editor=editor)
            self._station = EvaluationStation.of(job, self._unedited.lm, self._unedited.base)
            # Once a setting, not once a block: an identity looks up versions and digests.
            self._settings = editor_identity(self._station.editor)["settings"]
            self._number = number
        return self._settings, self._station.measure(block)

    def check(self) -> None:
        self._unedited.check()
