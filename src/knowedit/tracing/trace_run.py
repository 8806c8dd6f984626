"""Traces of many facts, kept in a folder: the run can be interrupted at any point and goes on from there."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, TypeAlias

from knowedit.errors import FileFormatError, InputError, KnoweditError
from knowedit.models import LanguageModel, fingerprint
from knowedit.runs import MANIFEST, Journal, manifest_bytes, require_same
from knowedit.runs import read_manifest as read_any_manifest
from knowedit.tensorfile import remove_leftovers, write_bytes
from knowedit.tracing.averages import AverageTrace, average_summaries
from knowedit.tracing.known import KnownFact, facts_digest
from knowedit.tracing.plan import TracePlan
from knowedit.tracing.reading import UnpredictedAnswer
from knowedit.tracing.setting import TraceSetting
from knowedit.tracing.summary import FactSummary, summarise

RECORDS: Final = "records.jsonl"
ADVICE: Final = "remove that line and those after it to measure them again, or give another folder"
"""A record belongs to the fact in its place, so that no line can be taken out between others."""
AVERAGE: Final = "average.safetensors"
KIND: Final = "knowedit.trace_run"
SCHEMA: Final = 1
PACKAGES: Final = ("knowedit", "torch", "transformers", "numpy", "scipy")


@dataclass(frozen=True)
class TraceProgress:
    """Where a run is.

    Attributes:
        done: facts so far, those of earlier starts and those that failed included.
        total: all facts.
        failed: how many could not be traced.
    """

    done: int
    total: int
    failed: int


Watch: TypeAlias = Callable[[TraceProgress], None]


@dataclass(frozen=True, eq=False)
class TraceResult:
    """What a run found.

    Attributes:
        average: over the facts that could be traced.
        summaries: one a fact, in the order of the facts; None for one that failed. Runs over the same facts
            can be compared fact by fact.
        failures: the number of each fact that failed, from 0, and its error.
    """

    average: AverageTrace
    summaries: tuple[FactSummary | None, ...]
    failures: dict[int, str]


@dataclass(frozen=True, eq=False)
class TraceRun:
    """Which facts are traced, how, and into which folder.

    A folder belongs to one run: the same weights, facts and plan (``memory`` may change). Every fact is one
    line of a file, written when it is done. A fact's result depends on no other, so a run that was
    interrupted, however often, finds what one finds that was not.

    Attributes:
        folder: created if it is not there.
        lm: the model as it is now, applied edits included.
        facts: what it knows.
        plan: how they are traced.
    """

    folder: Path
    lm: LanguageModel
    facts: Sequence[KnownFact]
    plan: TracePlan

    def measure(self, watch: Watch | None = None) -> TraceResult:
        """Start, go on or find it done; then the folder holds the average as well.

        A fact that cannot be traced is recorded with its error, and the others go on.

        Args:
            watch: called at the start and after every fact.

        Raises:
            InputError: no fact; a window larger than the model; a folder of another run, with what differs,
                or one that another process writes to; no fact that could be traced.
            FileFormatError: a damaged folder.
        """
        if not self.facts:
            raise InputError("there are no facts to trace: give at least one")
        setting = self.plan.setting(self.lm, fingerprint(self.lm, with_edits=True).digest)
        _make(self.folder)
        with Journal(self.folder / RECORDS, ADVICE) as journal:
            self._begin(journal, setting.digest)
            self._go_on(journal, setting.digest, watch)
            result = _result(journal.records, setting)
            result.average.save(self.folder / AVERAGE)
        return result

    def _begin(self, journal: Journal, digest: str) -> None:
        plan = self.plan.to_json()
        del plan["memory"]
        facts = {"facts": len(self.facts), "facts_sha256": facts_digest(self.facts)}
        run = {"model": digest, **facts, **plan}
        found = read_manifest(self.folder)
        if found is not None:
            require_same(self.folder, found["run"], run)
        elif journal.records:
            raise InputError(
                f"{self.folder} holds records and no {MANIFEST}: expected a new folder or that of an earlier run; "
                "give another one"
            )
        else:
            _write_manifest(self.folder, run, self.lm)
        if len(journal.records) > len(self.facts):
            raise FileFormatError(
                f"{self.folder} holds {len(journal.records)} records of {len(self.facts)} facts: give another folder"
            )

    def _go_on(self, journal: Journal, digest: str, watch: Watch | None) -> None:
        total = len(self.facts)
        for done in range(len(journal.records), total + 1):
            if watch is not None:
                watch(TraceProgress(done, total, sum("error" in one for one in journal.records)))
            if done < total:
                journal.append(self._record(self.facts[done], digest))

    def _record(self, fact: KnownFact, digest: str) -> dict[str, Any]:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UnpredictedAnswer)  # the average counts them
                return summarise(self.plan.trace(self.lm, fact, digest=digest)).to_json()
        except KnoweditError as error:
            return {"error": str(error)}


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"the folder {folder} cannot be made ({error.strerror}): give another one") from None
    for name in (MANIFEST, AVERAGE):
        remove_leftovers(folder / name)


def _result(records: Sequence[dict[str, Any]], setting: TraceSetting) -> TraceResult:
    try:
        summaries = tuple(None if "error" in one else FactSummary.from_json(one) for one in records)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FileFormatError(
            f"a record of a fact has wrong entries ({error}): give another folder"
        ) from None
    failures = {number: str(one["error"]) for number, one in enumerate(records) if "error" in one}
    traced = [one for one in summaries if one is not None]
    if not traced:
        raise InputError(f"none of {len(records)} facts could be traced; the first: {failures[0]}")
    return TraceResult(average_summaries(traced, setting), summaries, failures)


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of a run's folder, or None where there is none.

    Raises:
        FileFormatError: it is not one that this version reads.
    """
    found = read_any_manifest(folder, KIND, SCHEMA, "a trace run")
    if found is not None and not isinstance(found.get("run"), dict):
        raise FileFormatError(f"{folder / MANIFEST} does not say which run it is of: give another folder")
    return found


def _write_manifest(folder: Path, run: dict[str, Any], lm: LanguageModel) -> None:
    manifest = {
        "kind": KIND,
        "schema": SCHEMA,
        "names": {"model": lm.name, "dtype": str(lm.dtype).removeprefix("torch.")},
        "run": run,
        "versions": {name: version(name) for name in PACKAGES},
    }
    write_bytes(folder / MANIFEST, manifest_bytes(manifest))
