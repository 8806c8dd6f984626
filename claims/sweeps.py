"""Section 3.1 and Appendix D: editors over their layers and bounds, read from a finished sweep on training records.

The sweep is evidence like the runs of Table 2: sealed lines with the version of what they depend on, of which some are
measured again.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from claims.models import Missing, OpenModel, one_line
from claims.registry import Claim, Expectation, Measured, Progress, Section
from claims.run_evidence import Means, resampled, source_of
from claims.settings import Settings
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
from knowedit.evaluation.runs.sweep_points import SweepPoint, sweep_digest
from knowedit.evaluation.runs.tables import F1_BELOW
from knowedit.runs import MANIFEST

Array: TypeAlias = NDArray[np.float64]

FOLDER: Final = "sweep"
SAMPLE: Final = 2
"""Records of one point of each method that are measured again by default."""
EFFECTIVE: Final = 90.0
"""ES in per cent from which fine-tuning works at a layer; elsewhere NS is high for want of an edit."""
TUNED: Final = ("FT", "FT+L", "AttnEdit")
ROME: Final = "ROME"
NAMES: Final = {label_of(make()): name for name, make in EDITORS.items()}
"""What a table calls an editor to its name."""


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
        return best([one.row() for one in self.find(method)], method).learning_rate

    def means(self, points: Sequence[SweepPoint], column: str, cases: Sequence[int] = ()) -> Means:
        """The means of a column at some points, by layer and ε; of some records, by default of all."""
        columns = {}
        for one in points:
            by_case = dict(zip(one.cases, one.columns[column], strict=True))
            columns[str(one), column] = [100 * by_case[case] for case in cases or self.cases]
        return resampled(columns, np.random.default_rng(self.seed))


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
    folder = source_of(model, settings).folder(FOLDER)
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
    for done, one in enumerate(drawn, start=1):
        again += _check(one, identity, model, records, settings)
        progress(done, len(drawn))
    failed = {int(case) for one in points for case in one.failed}
    cases = [record.case_id for record in records if record.case_id not in failed]
    note = f"sweep {sweep_digest(points)[:12]} of {len(points)} settings; {again} records measured again"
    return Evidence(points, cases, model.lm.n_layers, settings.seed, note)


def command(model: str, folder: Path) -> str:
    """What makes the sweep."""
    methods = "--method ft --method ft+l --method attn-edit --method rome"
    return f"knowedit sweep -m {model} {methods} --bounds 2e-3,5e-3,1e-2 --rates 5e-4,2e-3 --out {folder}"


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
    told = identity["records"]
    records = load_records(path)[: told["count"]]
    if told != records_identity(records):
        raise ValueError(f"the sweep of {model.name} is about other records than its first {told['count']}")
    return records


def _check(
    one: SweepPoint,
    identity: Mapping[str, Any],
    model: OpenModel,
    records: Sequence[Record],
    settings: Settings,
) -> int:
    """Measure records of a point again; how many."""
    try:
        editor = make_editor(NAMES[one.method], **one.setting)
        job = EvaluationJob(model.name, editor, identity["seed"], device=settings.device)
        station = EvaluationStation.of(job, model.lm)
    except InputError as error:
        raise Missing(one_line(error)) from error
    was = {**identity, "method": one.method, "settings": one.settings}
    require_same_question(f"the sweep of {model.name} at {one}", was, station.identity)
    rng = random.Random(f"records {settings.seed} {one}")
    drawn = list(records) if settings.full else rng.sample(list(records), min(SAMPLE, len(records)))
    for outcome in station.measure(drawn):
        found = None if outcome.scores is None else RecordScores.from_json(outcome.scores).columns
        require_found_again(one, outcome.case_id, found)
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


def thirds(n_layers: int) -> tuple[range, range]:
    """The middle third of the layers, and the last."""
    third = n_layers // 3
    return range(third, n_layers - third), range(n_layers - third, n_layers)


def any_middle_layer(evidence: Evidence) -> Measured:
    """PS of ROME at the middle layer where it is lowest, and at the lowest of the last layers."""
    points = evidence.find(ROME)
    means = evidence.means(points, "PS")
    by_layer = {one.setting["layer"]: means(str(one), "PS") for one in points}
    middle, last = thirds(evidence.n_layers)
    if missing := [layer for layer in (*middle, *last) if layer not in by_layer]:
        raise Missing(f"the sweep has no point of ROME at layer {missing[0]}: add it with knowedit sweep")
    found, control = (
        means.interval(np.min([by_layer[layer] for layer in layers], axis=0)) for layers in (middle, last)
    )
    return Measured(found, control, f"PS by layer {_told(points, means, 'PS')}; {evidence.note}")


def _told(points: Sequence[SweepPoint], means: Means, column: str) -> str:
    return ", ".join(f"{one.setting['layer']}: {means(str(one), column)[0]:.1f}" for one in points)


def ft_layer(evidence: Evidence) -> Measured:
    """NS of FT at its best layer above the mean of the other layers, and that of its worst.

    The layer is chosen on half of the records and measured on the other half, so that choosing does not make it best.
    """
    points = evidence.find("FT", learning_rate=evidence.rate("FT"))
    efficacy, specificity = (evidence.means(points, column) for column in ("ES", "NS"))
    kept = [one for one in points if efficacy(str(one), "ES")[0] >= EFFECTIVE]
    if len(kept) < 2:
        layers = ", ".join(str(one.setting["layer"]) for one in kept) or "none"
        raise Missing(
            f"FT has an ES of {EFFECTIVE:g} % at one layer at most ({layers}): there is nothing to compare"
        )
    order = np.random.default_rng(evidence.seed).permutation(evidence.cases).tolist()
    chosen, rest = (evidence.means(kept, "NS", half) for half in (order[::2], order[1::2]))
    by_layer = [chosen(str(one), "NS")[0] for one in kept]
    places = [int(np.argmax(by_layer)), int(np.argmin(by_layer))]
    found, control = (rest.interval(_above_others(kept, rest, place)) for place in places)
    told = f"best layer {kept[places[0]].setting['layer']}; NS by layer {_told(kept, specificity, 'NS')}"
    return Measured(found, control, f"{told}; {evidence.note}")


def _above_others(points: Sequence[SweepPoint], means: Means, place: int) -> Array:
    every = [means(str(one), "NS") for one in points]
    own = every.pop(place)
    return np.asarray(own - np.mean(every, axis=0), dtype=np.float64)


def trade(method: str, evidence: Evidence) -> Measured:
    """What the smallest ε gains in NS and loses in PS beside the largest: the smaller of the two, in points."""
    rate = evidence.rate(method)
    bounds = sorted({one.setting.get("bound") or 0.0 for one in evidence.find(method, learning_rate=rate)})
    if len(bounds) < 2:
        raise Missing(f"the sweep has one ε of {method} only: add another with knowedit sweep")
    small, large = (
        evidence.find(method, learning_rate=rate, bound=bound) for bound in (bounds[0], bounds[-1])
    )
    changes = []
    for column in ("NS", "PS"):
        means = evidence.means([*small, *large], column)
        changes.append(_mean(small, means, column) - _mean(large, means, column))
    gained, lost = changes
    found, control = means.interval(np.minimum(gained, -lost)), means.interval(np.minimum(-gained, lost))
    told = f"ε {bounds[0]:g} beside {bounds[-1]:g}: NS {gained[0]:+.1f}, PS {lost[0]:+.1f} points"
    return Measured(found, control, f"{told}, mean over the layers; {evidence.note}")


def _mean(points: Sequence[SweepPoint], means: Means, column: str) -> Array:
    return np.asarray(np.mean([means(str(one), column) for one in points], axis=0), dtype=np.float64)


def _epsilon(name: str, method: str, place: str) -> Claim[Evidence]:
    return Claim(
        id=f"sweep.{name}-epsilon",
        place=place,
        statement=f"A smaller ε of {method} buys specificity and costs generalisation.",
        quantity="the gain of NS and the loss of PS of the smallest ε beside the largest, the smaller of the two",
        unit="points",
        paper="read from the figure",
        expectation=Expectation("at least", 0.0),
        control="the largest ε in place of the smallest",
        measure=partial(trade, method),
    )


ABOUT: Final = (
    "Read from a finished sweep over layers, bounds and learning rates on 50 training records, of which a sample was "
    "measured again just now. Intervals: percentile bootstrap over records, the same resamples at all settings."
)

SECTION: Section[Evidence] = Section(
    name="sweep",
    title="Appendix D: layers and bounds",
    about=ABOUT,
    claims=(
        Claim(
            id="sweep.ft-layer",
            place="Appendix D, Figures 13, 14",
            statement="Fine-tuning without a bound has a layer that is best for specificity.",
            quantity="NS at the layer that is best on half of the records above the mean of the other layers, on the "
            f"other half; of layers with ES of at least {EFFECTIVE:g} %",
            unit="points",
            paper="layer 1 of 48 and 21 of 28",
            expectation=Expectation("at least", 0.0),
            control="the worst layer in place of the best",
            measure=ft_layer,
        ),
        _epsilon("ftl", "FT+L", "Appendix D, Figures 13, 14"),
        _epsilon("attn", "AttnEdit", "Appendix E, Figure 15"),
    ),
    on_model=partial(gather, TUNED),
)
LAYERS: Section[Evidence] = Section(
    name="rome",
    title="Section 3.1: ROME layer by layer",
    about=ABOUT,
    claims=(
        Claim(
            id="rome.any-middle-layer",
            place="Section 3.1",
            statement="A fact can be stored in any one of the middle MLP layers.",
            quantity="PS of ROME at the layer of the middle third where it is lowest",
            unit="%",
            paper="a hypothesis, not measured",
            expectation=Expectation("at least", F1_BELOW),
            control="the lowest layer of the last third",
            measure=any_middle_layer,
        ),
    ),
    on_model=partial(gather, (ROME,)),
)
