"""Whether a finished run is evidence today: whole, of today's code and model, and found again on a sample.

A drawn text is another one where another processor rounds a probability across a draw, or draws by another method.
Its scores are compared by the means of the sample, and how many came out the same is told; where most texts of one
run come out the same, most of every run must. All else follows from the model, so it has to agree up to rounding,
record by record.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from claims.models import Missing, Stale
from knowedit.evaluation import Record, RecordScores
from knowedit.evaluation.runs.evaluate import records_identity
from knowedit.evaluation.runs.evidence import Comparison, verify
from knowedit.evaluation.runs.folder import RECORDS, Run, read_run
from knowedit.evaluation.runs.job import Station
from knowedit.runs import MANIFEST, damaged_line, differences, read_lines

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
FREE: Final = ("code", "versions", "device", "records")
"""Entries of an identity that may differ, or are looked at on their own."""

Watch = Callable[[int, int], None]


@dataclass(frozen=True)
class Checked:
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


def require_alike(checks: Sequence[Checked]) -> None:
    """Refuse runs whose texts are not drawn alike: a processor draws either all texts as before, or none.

    Raises:
        ValueError: the texts of most runs come out the same, but not those of each.
    """
    strange = [found for found in checks if not found.reproduced]
    if strange and len(strange) < len(checks):
        raise ValueError(
            f"{_name(strange[0].run)} was not found again: of {len(strange[0].cases)} texts "
            f"{strange[0].same_texts} came out the same, while those of other runs do"
        )


def read_whole(folder: Path, command: str) -> Run:
    """The run of a folder, with every record.

    Args:
        folder: the run's.
        command: what makes it.

    Raises:
        Missing: it is not there, or not finished.
        FileFormatError: the manifest or a line is not as it was written.
        InputError: the run was condemned.
    """
    if not (folder / MANIFEST).is_file():
        raise Missing(f"no evidence in {folder.parent.name}/{folder.name}: make it with {command}")
    run = read_run(folder)
    if (folder / RECORDS).is_file():
        _refuse_rest(folder / RECORDS)
    if run.missing:
        raise Missing(
            f"{run.missing} of {run.identity['records']['count']} records of {folder.parent.name}/{folder.name} "
            f"are not measured: go on with {command}"
        )
    return run


def _refuse_rest(path: Path) -> None:
    """A last line that is not whole: a run that was stopped leaves one, what is committed must not have it."""
    lines = read_lines(path, "")
    if lines.rest:
        raise damaged_line(len(lines.contents) + 1, path, "restore the file, or make the run again")


def check(
    run: Run, station: Station, records: Sequence[Record], sample: int, seed: int, watch: Watch | None = None
) -> Checked:
    """Measure a sample of a run again.

    Args:
        run: see `read_whole`.
        station: of the run that would be made today.
        records: today's.
        sample: how many are measured again.
        seed: draws them.
        watch: called after each.

    Raises:
        Stale: the code has changed since the run.
        ValueError: the run is about something else, or is not found again.
    """
    require_current(run, station, records)
    comparison = verify(run, station, records, sample, seed, watch)
    require_agreement(run, comparison)
    same = sum(_same_text(*pair) for pair in comparison.pairs)
    return Checked(run, comparison.cases, same)


def require_current(run: Run, station: Station, records: Sequence[Record]) -> None:
    """Refuse a run of other code, records, model or settings; the library's versions may differ.

    Raises:
        Stale: of other code.
        ValueError: of anything else.
    """
    require_same(_name(run), run.identity, station.identity)
    if records_identity(records) != run.identity["records"]:
        raise ValueError(f"{_name(run)} is about other records than the model's first {len(records)}")
    if {outcome.case_id for outcome in run.outcomes} != {record.case_id for record in records}:
        raise ValueError(f"{_name(run)} has lines of other case ids than its records have")


def require_same(name: str, was: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuse evidence of another code, model or setting than would be measured today.

    Raises:
        Stale: of other code.
        ValueError: of anything else.
    """
    if was["code"] != now["code"]:
        raise Stale(
            f"{name} was measured by other code ({was['code'][:12]}, today's is {now['code'][:12]}): measure again"
        )
    if listed := differences(_fixed(was), _fixed(now)):
        raise ValueError(f"{name} was measured otherwise: {listed}")


def _fixed(identity: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in identity.items() if name not in FREE}


def require_agreement(run: Run, comparison: Comparison) -> None:
    """Refuse a run whose sample was not found again.

    Raises:
        ValueError: with what differs, and by how much.
    """
    found = [f"record {case} failed only once" for case in comparison.failures]
    for was, now in comparison.pairs:
        found += [f"record {was.case_id}: {text}" for text in _disagreements(was, now)]
    found += _far_means(run, comparison)
    if found:
        raise ValueError(f"{_name(run)} was not found again: {'; '.join(found[:3])}")


def _disagreements(was: RecordScores, now: RecordScores) -> list[str]:
    """What differs by more than rounding in what follows from the model."""
    found = []
    old, new = _probabilities(was), _probabilities(now)
    if old.shape != new.shape:
        found.append(f"{len(old)} probabilities were {len(new)} now")
    elif not (gap := float(np.abs(old - new).max())) <= PROBABILITY:
        found.append(f"a probability differs by {gap:.2g}")
    before, after = was.columns, now.columns
    if [key for key in before if (before[key] is None) != (after[key] is None)]:
        found.append("other columns are measured")
    essence, again = before["Essence"], after["Essence"]
    if essence is not None and again is not None and not abs(again - essence) <= PERPLEXITY * essence:
        found.append(f"Essence was {essence:.4g} and is {again:.4g}")
    return found


def _probabilities(scores: RecordScores) -> np.ndarray[Any, np.dtype[np.float64]]:
    parts = [side.numpy() for pair in scores.groups.values() for side in (pair.new, pair.true)]
    return np.concatenate(parts)


def _far_means(run: Run, comparison: Comparison) -> list[str]:
    found = []
    for key in DRAWN:
        pairs = [
            (old, new)
            for was, now in comparison.pairs
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


def _name(run: Run) -> str:
    return f"{run.path.parent.name}/{run.path.name}"
