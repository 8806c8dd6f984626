"""Traces of many facts, kept in a folder: the run can be interrupted at any point and resumed."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, TypeAlias

from knowedit.errors import FileFormatError, InputError, KnoweditError
from knowedit.models import LanguageModel, fingerprint
from knowedit.runs import RunFolder, read_folder
from knowedit.tracing.averages import AverageTrace
from knowedit.tracing.causal import MEMORY, UnpredictedAnswer
from knowedit.tracing.corruptions.kinds import DRAWS
from knowedit.tracing.known import KnownFact
from knowedit.tracing.settings import KINDS, TraceSettings
from knowedit.tracing.summary import FactSummary

AVERAGE: Final = "average.safetensors"
KIND: Final = "knowedit.trace_run"
SCHEMA: Final = 2
TITLE: Final = "a trace run"
BLOCK: Final = 1
"""How many facts are one piece of work."""
ADVICE: Final = "remove that line and those after it to trace them again, or give another folder"
"""A line belongs to the fact in its place, so that none can be removed between others."""
PACKAGES: Final = ("knowedit", "torch", "transformers", "numpy", "scipy")
LARGEST_SEED: Final = 2**63 - 1

Watch: TypeAlias = Callable[[int, int, int], None]
"""Called with how many facts are done, those that failed included; how many there are; how many failed."""


class TraceRun:
    """Which facts are traced, how, and into which folder.

    A folder belongs to one run: the same weights, facts, settings and seed (``memory`` may change). Every fact is
    one line of a file, written when it is done. A fact's result depends on no other, so a run that was
    interrupted, however often, finds what one finds that was not.

    Args:
        folder: created if it is not there.
        lm: the model as it is now, applied edits included.
        facts: what it knows.
        settings: how they are traced; the corruption has to suit any fact.
        seed: with the text of a prompt it gives the seed of that prompt's noise.
        memory: bytes that a trace may take; it changes the time and nothing else.

    Raises:
        InputError: no fact, a window larger than the model, or a value that no run could use.
    """

    def __init__(
        self,
        folder: Path | str,
        lm: LanguageModel,
        facts: Sequence[KnownFact],
        settings: TraceSettings | None = None,
        *,
        seed: int = 0,
        memory: int = MEMORY,
    ):
        if not facts:
            raise InputError("there are no facts to trace: give at least one")
        _check_range("seed", seed, 0, LARGEST_SEED)
        _check_range("memory", memory, 1, None)
        self.folder, self.lm, self.facts = Path(folder), lm, tuple(facts)
        self.settings = _for_any_fact(TraceSettings() if settings is None else settings, lm.n_layers)
        self.seed, self.memory = seed, memory

    def run(self, watch: Watch | None = None) -> AverageTrace:
        """Start, resume or find it done; then the folder holds the average as well.

        A fact that cannot be traced is recorded with its error, and the others are traced.

        Args:
            watch: called at the start and after every block of facts.

        Raises:
            InputError: a folder of another run, with what differs, or one that another process writes to; no
                fact that could be traced.
            FileFormatError: a damaged folder.
        """
        digest = fingerprint(self.lm, with_edits=True).digest
        with RunFolder(self.folder, KIND, SCHEMA, TITLE, advice=ADVICE) as folder:
            names = {"model": self.lm.name, "dtype": str(self.lm.dtype).removeprefix("torch.")}
            versions = {name: version(name) for name in PACKAGES}
            lines = folder.begin(self._identity(digest), names, versions=versions)
            self._trace(folder, lines, digest, watch)
            average = self._average(lines, digest)
            average.save(self.folder / AVERAGE, force=True)
        return average

    @property
    def summaries(self) -> tuple[FactSummary | None, ...]:
        """What the folder holds of each fact so far, in the order of the facts; None for one that failed.

        Runs over the same facts can be compared fact by fact.

        Raises:
            InputError: there is no such folder.
            FileFormatError: it is damaged.
        """
        return _summaries(self._lines())

    @property
    def failures(self) -> dict[int, str]:
        """The number of each fact that failed so far, from 0, and its error; see `summaries`."""
        return _failures(self._lines())

    def _lines(self) -> list[dict[str, Any]]:
        return read_folder(self.folder, KIND, (1, SCHEMA), TITLE, advice=ADVICE)[1]

    def _identity(self, digest: str) -> dict[str, Any]:
        rows = [[fact.prompt, fact.subject, fact.answer] for fact in self.facts]
        return {
            "model": digest,
            "facts": len(self.facts),
            "facts_sha256": hashlib.sha256(json.dumps(rows).encode()).hexdigest(),
            **self.settings.to_json(),
            "seed": self.seed,
            "block": BLOCK,
        }

    def _trace(
        self, folder: RunFolder, lines: list[dict[str, Any]], digest: str, watch: Watch | None
    ) -> None:
        """Trace the facts that have no line yet, and add theirs to ``lines``."""
        total = len(self.facts)
        while True:
            done = len(lines)
            if watch is not None:
                watch(done, total, len(_failures(lines)))
            if done >= total:
                return
            block = self.facts[done : done + BLOCK - done % BLOCK]
            found = [self._line(fact, digest) for fact in block]
            folder.append(*found)
            lines += found

    def _line(self, fact: KnownFact, digest: str) -> dict[str, Any]:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UnpredictedAnswer)  # the average counts them
                trace = fact.trace(self.lm, self.settings, seed=self.seed, memory=self.memory, digest=digest)
            return FactSummary.of(trace).to_json()
        except KnoweditError as error:
            return {"error": str(error)}

    def _average(self, lines: Sequence[dict[str, Any]], digest: str) -> AverageTrace:
        if len(lines) > len(self.facts):
            raise FileFormatError(
                f"{self.folder} holds {len(lines)} records of {len(self.facts)} facts: give another folder"
            )
        traced = [one for one in _summaries(lines) if one is not None]
        if not traced:
            raise InputError(f"none of {len(lines)} facts could be traced; the first: {_failures(lines)[0]}")
        return AverageTrace.of(traced, self.settings.shared(), model=self.lm.name, digest=digest)


def _for_any_fact(settings: TraceSettings, n_layers: int) -> TraceSettings:
    """The settings with their number of draws."""
    corruption = settings.corruption
    kind = corruption.settings()["kind"]
    if kind not in KINDS:
        raise InputError(
            f"the corruption is of the kind {kind!r}, which belongs to one subject: use one of {', '.join(KINDS)}"
        )
    _check_range("draws", settings.draws, 1, None if corruption.random else 1)
    usual = DRAWS if corruption.random else 1
    window = settings.window.check(n_layers)
    return replace(settings, window=window, draws=usual if settings.draws is None else settings.draws)


def _summaries(lines: Sequence[dict[str, Any]]) -> tuple[FactSummary | None, ...]:
    return tuple(None if "error" in one else FactSummary.from_json(one) for one in lines)


def _failures(lines: Sequence[dict[str, Any]]) -> dict[int, str]:
    return {number: str(one["error"]) for number, one in enumerate(lines) if "error" in one}


def _check_range(name: str, value: int | None, least: int, most: int | None) -> None:
    if value is not None and (value < least or (most is not None and value > most)):
        bound = f"at least {least}" if most is None else f"from {least} to {most}"
        raise InputError(f"{name} is {value}: expected a number {bound}")
