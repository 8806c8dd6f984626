"""An evaluation: many records, one run folder, stopped and resumed at will."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias

from knowedit.errors import InputError, NumericalError
from knowedit.evaluation.records.record import Record
from knowedit.evaluation.runs.executors import Executor, InProcess
from knowedit.evaluation.runs.folder import Outcome, Run, RunFolder, read_run
from knowedit.evaluation.runs.job import Plan
from knowedit.runs import canonical

Watch: TypeAlias = Callable[[int, int, Outcome | None], None]
"""Called with the records that are done, all records, and the latest outcome (None at the start)."""


@dataclass(frozen=True)
class EvaluationRun:
    """Which records are measured, how, and into which folder.

    A folder belongs to one run: the same weights, method, settings, records, scores, seed, source and versions. A
    record's outcome depends on these and not on the other records, the order, the number of workers or how often
    the run was stopped, so the tables are the same.

    Attributes:
        plan: how a record is measured.
        records: each case id once.
        out: the folder; made if it is not there.
        names: what model, method and records are called, for tables; not compared.
    """

    plan: Plan
    records: Sequence[Record]
    out: Path
    names: tuple[tuple[str, str], ...] = ()

    def gather(
        self, executor: Executor | None = None, *, watch: Watch | None = None, retry: bool = False
    ) -> Run:
        """Start, go on or find it done.

        Args:
            executor: where records are measured; in this process by default.
            watch: called at the start and after every record.
            retry: measure again the records that failed.

        Returns:
            The whole run; look at its ``failed``.

        Raises:
            InputError: no record, a case id twice, a folder of another run (with what differs) or one that another
                process writes to, a full disk, or what the plan lacks. The lines that were there stay.
            NumericalError: a model that is not what it was once the edits are taken out.
        """
        identity = records_identity(self.records)
        with RunFolder(self.out) as folder, (executor or InProcess()).open(self.plan) as crew:
            run = folder.begin({**crew.identity, "records": identity}, dict(self.names))
            waiting = self._waiting(run, retry=retry)
            done = len(self.records) - len(waiting)
            _tell(watch, done, len(self.records), None)
            try:
                for outcome in crew.measure(waiting):
                    folder.append(outcome)
                    done += 1
                    _tell(watch, done, len(self.records), outcome)
            except NumericalError as error:
                folder.condemn(str(error))
                raise
            return read_run(self.out)

    def _waiting(self, run: Run, *, retry: bool) -> list[Record]:
        kept = run.scored if retry else run.outcomes
        there = {outcome.case_id for outcome in kept}
        return [record for record in self.records if record.case_id not in there]


def _tell(watch: Watch | None, done: int, of: int, outcome: Outcome | None) -> None:
    if watch is not None:
        watch(done, of, outcome)


def records_identity(records: Sequence[Record]) -> dict[str, Any]:
    """How many records, and the SHA-256 of their content in the order of the case ids.

    Raises:
        InputError: no record, or a case id twice.
    """
    ordered = sorted(records, key=lambda record: record.case_id)
    if not ordered:
        raise InputError("there is no record to measure: give at least one")
    for first, second in pairwise(ordered):
        if first.case_id == second.case_id:
            raise InputError(f"case_id {first.case_id} is there twice: expected each once")
    found = hashlib.sha256()
    for record in ordered:
        found.update(f"{canonical(record.as_json())}\n".encode())
    return {"count": len(ordered), "sha256": found.hexdigest()}
