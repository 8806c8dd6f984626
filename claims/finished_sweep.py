"""The evidence for the claims of Section 3.1 and Appendix D: a finished sweep on training records, verified.

The sweep is evidence like the runs of Table 2: sealed lines with the version of what they depend on, of which some are
measured again.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from claims.means import Means
from claims.models import Missing, OpenModel, one_line
from claims.registry import Progress
from claims.settings import Settings
from claims.sources import Source
from knowedit.editing import EDITORS, label_of, make_editor
from knowedit.errors import InputError
from knowedit.evaluation import (
    TRAIN_FILE,
    EvaluationJob,
    Record,
    RecordScores,
    best,
    load_records,
    read_sweep,
)
from knowedit.evaluation.runs.evaluate import records_identity
from knowedit.evaluation.runs.evidence import PROBABILITY, require_same_question
from knowedit.evaluation.runs.station import EvaluationStation
from knowedit.evaluation.runs.sweep_points import SweepPoint
from knowedit.models import Fingerprint, fingerprint
from knowedit.runs import MANIFEST

FOLDER: Final = "sweep"
ABOUT: Final = (
    "Read from a finished sweep over layers, bounds and learning rates on 50 training records, of which a sample was "
    "measured again just now. Intervals: percentile bootstrap over records, the same resamples at all settings."
)
SAMPLE: Final = 2
"""Records of one point of each method that are measured again by default."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """What the claims read.

    Attributes:
        points: of the sweep.
        cases: the records that were scored at every point.
        n_layers: of the model.
        seed: of the resamples.
        note: which sweep it is, for the report.
    """

    points: Sequence[SweepPoint]
    cases: Sequence[int]
    n_layers: int
    seed: int
    note: str = ""

    def find(self, method: str, **setting: object) -> list[SweepPoint]:
        """The points of a method with some settings, by layer.

        Raises:
            Missing: there is none.
        """
        found = [one for one in self.points if one.method == method and _has(one, setting)]
        if not found:
            raise Missing(f"the sweep has no point of {method} with {setting}: add it with knowedit sweep")
        return sorted(found, key=lambda one: one.setting["layer"])

    def rate(self, method: str) -> float | None:
        """The learning rate of a method's best setting."""
        rate: float | None = best(self.find(method), method).setting.get("learning_rate")
        return rate

    def means(self, points: Sequence[SweepPoint], column: str, cases: Sequence[int] = ()) -> Means:
        """The means of a column at some points, by layer and ε; of some records, by default of all."""
        columns = {}
        for one in points:
            by_case = dict(zip(one.cases, one.columns[column], strict=True))
            columns[str(one), column] = [100 * by_case[case] for case in cases or self.cases]
        return Means.of(columns, np.random.default_rng(self.seed))


def _has(one: SweepPoint, setting: Mapping[str, object]) -> bool:
    return all(one.setting.get(name) == value for name, value in setting.items())


def gather(methods: Sequence[str], model: OpenModel, settings: Settings, progress: Progress) -> Evidence:
    """Read the model's sweep and measure some points of these methods again.

    Raises:
        Missing: there is no sweep, or the model lacks something that it needs.
        Stale: the version of an editor or of the scores is another than the sweep's.
        ValueError: the sweep is about something else, or is not found again.
        FileFormatError: a line was changed.
    """
    folder = Source.of(model, settings).folder(FOLDER)
    if not (folder / MANIFEST).is_file():
        raise Missing(
            f"no sweep in {folder.parent.name}/{FOLDER}: make it with {command(model.name, folder)}"
        )
    manifest, every = read_sweep(folder, whole=True)
    points = [one for one in every if one.method in methods]
    if not points:
        raise Missing(f"{folder.parent.name}/{FOLDER} has no point of {', '.join(methods)}: add some")
    identity = manifest["run"]
    records = _records(model, identity)
    drawn, again = points if settings.full else _drawn(points, settings.seed), 0
    base = fingerprint(model.lm, with_edits=True)
    for done, one in enumerate(drawn, start=1):
        station = _station(one, int(identity["seed"]), model, base, settings.device)
        was = {**identity, "method": one.method, "settings": one.settings}
        require_same_question(f"the sweep of {model.name} at {one}", was, station.identity)
        again += _measured_again(one, station, records, settings)
        progress(done, len(drawn))
    failed = {int(case) for one in points for case in one.failed}
    cases = [record.case_id for record in records if record.case_id not in failed]
    note = f"sweep {SweepPoint.digest(points)[:12]} of {len(points)} settings; {again} records measured again"
    return Evidence(points, cases, model.lm.n_layers, settings.seed, note)


def command(model: str, folder: Path) -> str:
    """What makes the sweep."""
    methods = "--method ft --method ft+l --method attn-edit --method rome"
    return (
        f"knowedit sweep --model {model} {methods} --bounds 2e-3,5e-3,1e-2 --rates 5e-4,2e-3 --out {folder}"
    )


def _drawn(points: Sequence[SweepPoint], seed: int) -> list[SweepPoint]:
    """One point of each method."""
    rng = random.Random(f"sweep {seed}")
    methods = dict.fromkeys(one.method for one in points)
    return [rng.choice([one for one in points if one.method == method]) for method in methods]


def _records(model: OpenModel, identity: Mapping[str, Any]) -> list[Record]:
    """The training records that the sweep was measured on.

    Raises:
        Missing: the model has none.
        ValueError: they are others today.
    """
    path = None if model.lm.folder is None else model.lm.folder / TRAIN_FILE
    if path is None or not path.is_file():
        raise Missing(f"{model.name} has no {TRAIN_FILE} in its folder, which the sweep is measured on")
    known = identity["records"]
    records = load_records(path)[: known["count"]]
    if known != records_identity(records):
        raise ValueError(f"the sweep of {model.name} is about other records than its first {known['count']}")
    return records


def _station(
    one: SweepPoint, seed: int, model: OpenModel, base: Fingerprint, device: str
) -> EvaluationStation:
    """What measures the point today."""
    (name,) = (name for name, make in EDITORS.items() if label_of(make()) == one.method)
    try:
        job = EvaluationJob(model.name, make_editor(name, **one.setting), seed, device=device)
        return EvaluationStation.of(job, model.lm, base)
    except InputError as error:
        raise Missing(one_line(error)) from error


def _measured_again(
    one: SweepPoint, station: EvaluationStation, records: Sequence[Record], settings: Settings
) -> int:
    """Measure some records of a point again; how many.

    Raises:
        ValueError: one is not found again.
        NumericalError: the model is not what it was.
    """
    rng = random.Random(f"records {settings.seed} {one}")
    drawn = list(records) if settings.full else rng.sample(list(records), min(SAMPLE, len(records)))
    for outcome in station.measure(drawn):
        found = None if outcome.scores is None else RecordScores.from_json(outcome.scores).columns
        require_found_again(one, outcome.case_id, found)
    station.check()
    return len(drawn)


def require_found_again(one: SweepPoint, case: int, found: Mapping[str, float | None] | None) -> None:
    """Refuse a point of which a record is not what it was.

    Raises:
        ValueError: with what differs.
    """
    if (found is None) != (str(case) in one.failed):
        raise ValueError(f"at {one} record {case} failed only once")
    for key, values in one.columns.items() if found is not None else ():
        was, now = dict(zip(one.cases, values, strict=True))[case], (found or {}).get(key)
        # A success is a comparison of probabilities, which rounding can turn at one prompt of a few.
        allowed = PROBABILITY if key.endswith("M") else 0.5
        if now is None or not abs(now - was) <= allowed:
            raise ValueError(f"at {one} record {case}: {key} was {was} and is {now}")


def shown_by_layer(points: Sequence[SweepPoint], means: Means, column: str) -> str:
    """For instance ``0: 88.4, 1: 74.0``."""
    return ", ".join(f"{one.setting['layer']}: {means(str(one), column)[0]:.1f}" for one in points)
