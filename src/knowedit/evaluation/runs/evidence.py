"""Whether a finished run is evidence today: whole, of today's question and versions, and found again on a sample.

A drawn text is another one where another processor rounds a probability across a draw. Its scores are compared by the
means of the sample, and how many came out the same is told; where most texts of one run come out the same, most of
every run must. All else follows from the model, so it has to agree up to rounding, record by record.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np

from knowedit.errors import InputError
from knowedit.evaluation.records.record import Record
from knowedit.evaluation.runs.evaluate import records_identity
from knowedit.evaluation.runs.run import Outcome, Run
from knowedit.evaluation.scores.record_scores import RecordScores
from knowedit.runs import Station, differences

PROBABILITY: Final = 1e-3
"""The most that a probability may differ. Rounding is amplified by the search for an edit."""
PERPLEXITY: Final = 1e-2
"""The most that an essence may differ, as a share."""
SAME: Final = 1e-6
"""Scores of one and the same text differ by less."""
DRAWN: Final = ("GE", "RS")
"""The columns of texts that were drawn."""
FAR: Final = 4.0
"""Standard errors between the means of the sample then and now, if its texts were drawn independently."""
FREE: Final = ("versions", "device", "block", "records")
"""Entries of an identity that may differ, or are looked at on their own."""
VERSIONED: Final = ("settings", "scores")
"""Entries of an identity that have a version, which is raised by hand when a number may change."""

Watch: TypeAlias = Callable[[int, int], None]
"""Called with the records that were measured again, and all that will be."""
Stations: TypeAlias = Station[tuple[Record, ...], tuple[Outcome, ...]]


class Stale(InputError):
    """Evidence of another version of the editor or the scores than would be measured today."""


@dataclass(frozen=True)
class Verified:
    """A run that was found to be evidence.

    Attributes:
        run: as it was read.
        cases: which records were measured again.
        same_texts: how many of these have the same scores of drawn text, to the last digits.
    """

    run: Run
    cases: tuple[int, ...]
    same_texts: int

    @property
    def reproduced(self) -> bool:
        """Whether most texts came out the same."""
        return 2 * self.same_texts > len(self.cases)


def verify(
    run: Run,
    station: Stations,
    records: Sequence[Record],
    sample: int,
    seed: int = 0,
    watch: Watch | None = None,
) -> Verified:
    """Measure a sample of a run again.

    Args:
        run: a whole one, see `read_run`.
        station: an open one of the job that would make the run today.
        records: today's; all of the run.
        sample: how many are measured again, all if there are fewer.
        seed: draws them.
        watch: called after each.

    Raises:
        Stale: the version of the editor or of the scores is another than the run's.
        InputError: the run is not finished, is about something else, or is not found again.
    """
    name = f"{run.path.parent.name}/{run.path.name}"
    require_same_question(name, run.identity, station.identity)
    _require_same_records(name, run, records)
    drawn = random.Random(f"verify {seed}").sample(list(run.outcomes), min(sample, len(run.outcomes)))
    by_case = {record.case_id: record for record in records}
    pairs, found = [], list[str]()
    for done, was in enumerate(drawn, start=1):
        (now,) = station.measure((by_case[was.case_id],), lambda _: None)
        if was.scores is not None and now.scores is not None:
            pairs.append((RecordScores.from_json(was.scores), RecordScores.from_json(now.scores)))
        elif (was.scores is None) != (now.scores is None):
            found.append(f"record {was.case_id} failed only once")
        if watch is not None:
            watch(done, len(drawn))
    station.check()
    found += [f"record {old.case_id}: {text}" for old, new in pairs for text in _disagreements(old, new)]
    found += _far_means(run, pairs)
    if found:
        raise InputError(
            f"{name} was not found again: {'; '.join(found[:3])}; raise the version of the editor or the scores if a "
            "change of the code is meant to change numbers, and measure again"
        )
    cases = tuple(sorted(one.case_id for one in drawn))
    return Verified(run, cases, sum(_same_text(*pair) for pair in pairs))


def require_same_question(name: str, was: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuse evidence of another version, model or setting than would be measured today.

    The versions of libraries, the device and the size of a block may differ.

    Args:
        name: what the evidence is called.
        was: its identity.
        now: today's.

    Raises:
        Stale: of another version.
        InputError: of anything else.
    """
    for part in VERSIONED:
        old, new = (_version(one.get(part)) for one in (was, now))
        if old != new:
            raise Stale(
                f"{name} was measured by version {old} of its {part}, and today's is {new}: measure again"
            )
    if listed := differences(_fixed(was), _fixed(now)):
        raise InputError(f"{name} was measured otherwise: {listed}")


def _fixed(identity: Mapping[str, Any]) -> dict[str, Any]:
    """What has to be the same.

    Key statistics that are not stored are summed again, which rounds differently on another processor: of these only
    the number of tokens has to be the same.
    """
    found = {key: value for key, value in identity.items() if key not in FREE}
    settings = found.get("settings")
    if isinstance(settings, Mapping) and isinstance(statistics := settings.get("statistics"), Mapping):
        found["settings"] = {**settings, "statistics": {**statistics, "sha256": None}}
    return found


def _version(part: Any) -> Any:
    return part.get("version") if isinstance(part, Mapping) else None


def _require_same_records(name: str, run: Run, records: Sequence[Record]) -> None:
    if records_identity(records) != run.identity["records"]:
        raise InputError(f"{name} is about other records than the model's first {len(records)}")
    if run.missing:
        raise InputError(f"{name} is not finished: {run.missing} of {len(records)} records are not measured")
    if {outcome.case_id for outcome in run.outcomes} != {record.case_id for record in records}:
        raise InputError(f"{name} has lines of other case ids than its records have")


def require_alike(checks: Sequence[Verified]) -> None:
    """Refuse runs whose texts are not drawn alike: a processor draws either all texts as before, or none.

    Raises:
        InputError: the texts of most runs come out the same, but not those of each.
    """
    strange = [found for found in checks if not found.reproduced]
    if strange and len(strange) < len(checks):
        path = strange[0].run.path
        raise InputError(
            f"{path.parent.name}/{path.name} was not found again: of {len(strange[0].cases)} texts "
            f"{strange[0].same_texts} came out the same, while those of other runs do"
        )


def _disagreements(was: RecordScores, now: RecordScores) -> list[str]:
    """What differs by more than rounding in what follows from the model."""
    found = []
    old, new = _probabilities(was), _probabilities(now)
    if old.shape != new.shape:
        found.append(f"{len(old)} probabilities were {len(new)} now")
    elif not (gap := float(np.abs(old - new).max(initial=0))) <= PROBABILITY:
        found.append(f"a probability differs by {gap:.2g}")
    before, after = was.columns, now.columns
    if [key for key in before | after if (before.get(key) is None) != (after.get(key) is None)]:
        found.append("other columns are measured")
    essence, again = before["Essence"], after["Essence"]
    if essence is not None and again is not None and not abs(again - essence) <= PERPLEXITY * essence:
        found.append(f"Essence was {essence:.4g} and is {again:.4g}")
    return found


def _probabilities(scores: RecordScores) -> np.ndarray[Any, np.dtype[np.float64]]:
    parts = [side.numpy() for pair in scores.groups.values() for side in (pair.new, pair.true)]
    return np.concatenate([np.zeros(0), *parts])


def _far_means(run: Run, compared: Sequence[tuple[RecordScores, RecordScores]]) -> list[str]:
    found = []
    for key in DRAWN:
        pairs = [
            (old, new)
            for was, now in compared
            if (old := was.columns[key]) is not None and (new := now.columns[key]) is not None
        ]
        if not pairs:
            continue
        old, new = (float(np.mean(side)) for side in zip(*pairs, strict=True))
        allowed = FAR * _spread(run, key) * (2 / len(pairs)) ** 0.5 + SAME
        if not abs(new - old) <= allowed:
            found.append(f"the mean {key} of {len(pairs)} records was {old:.4g} and is {new:.4g}")
    return found


def _spread(run: Run, key: str) -> float:
    """The standard deviation of a column over the whole run."""
    scores = [RecordScores.from_json(outcome.scores or {}) for outcome in run.scored]
    values = [value for one in scores if (value := one.columns[key]) is not None]
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


def _same_text(was: RecordScores, now: RecordScores) -> bool:
    pairs = [(was.columns[key], now.columns[key]) for key in DRAWN]
    return all(
        old == new or (old is not None and new is not None and abs(old - new) <= SAME) for old, new in pairs
    )
