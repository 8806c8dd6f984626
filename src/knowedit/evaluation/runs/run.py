"""What the folder of an evaluation holds: what is measured, and what became of each record."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from typing import Any, ClassVar, Final

from knowedit.errors import FileFormatError
from knowedit.evaluation.records.record import Record
from knowedit.evaluation.scores.columns import Column
from knowedit.evaluation.scores.record_scores import RecordScores
from knowedit.figures.tables import data_frame
from knowedit.reading import checked
from knowedit.runs import MANIFEST, canonical, read_folder

KIND: Final = "knowedit.evaluation"
SCHEMA: Final = 2
TITLE: Final = "an evaluation"
RECORDS: Final = "records.jsonl"
ADVICE: Final = "restore the file, or cut it off before that line to have the rest measured again"


@dataclass(frozen=True)
class Outcome:
    """What became of one record.

    Attributes:
        case_id: the record's.
        scores: as JSON, or None where it failed.
        error: the error's type and message, or None where it did not.
        seconds: how long it took; the one thing here that another run would find otherwise.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}  # an entry that is not known would be lost

    case_id: int
    scores: dict[str, Any] | None
    error: str | None = None
    seconds: float = 0.0

    @classmethod
    def died(cls, case_id: int, reason: str) -> Outcome:
        """That of a record that ended its workers."""
        return cls(case_id, None, f"WorkerDied: {reason}")


@dataclass(frozen=True, repr=False)
class Run:
    """The content of a run's folder.

    Attributes:
        path: the folder.
        manifest: under ``run`` what makes it this run, under ``names`` what things are called.
        outcomes: in the order of the case ids.
    """

    path: Path
    manifest: dict[str, Any]
    outcomes: tuple[Outcome, ...]

    @classmethod
    def of(cls, path: Path, manifest: dict[str, Any], contents: Sequence[dict[str, Any]]) -> Run:
        """What the lines of a folder say; a failed record may have been measured again later.

        Raises:
            FileFormatError: a line that is no outcome, or that measures a record again that was scored.
        """
        found: dict[int, Outcome] = {}
        lines = path / RECORDS
        for number, content in enumerate(contents, start=1):
            outcome = checked(Outcome, content, f"line {number} of {lines}", "restore the file")
            if (outcome.scores is None) == (outcome.error is None):
                raise FileFormatError(f"line {number} of {lines} is not an outcome: restore the file")
            earlier = found.get(outcome.case_id)
            if earlier is not None and earlier.scores is not None:
                raise FileFormatError(
                    f"line {number} of {lines} measures record {outcome.case_id} again: remove one of its lines"
                )
            found[outcome.case_id] = outcome
        return cls(path, manifest, tuple(found[case] for case in sorted(found)))

    def of_records(self, identity: Mapping[str, Any], records: Sequence[Record]) -> Run:
        """The part of it that some of its records are: the run that these alone would have been.

        Args:
            identity: of the records.
            records: some of the run's.
        """
        if identity == self.identity["records"]:
            return self
        asked = {record.case_id for record in records}
        manifest = self.manifest | {"run": {**self.identity, "records": dict(identity)}}
        return Run(self.path, manifest, tuple(one for one in self.outcomes if one.case_id in asked))

    @property
    def identity(self) -> dict[str, Any]:
        """What makes it this run."""
        found: dict[str, Any] = self.manifest["run"]
        return found

    @property
    def scored(self) -> tuple[Outcome, ...]:
        """The outcomes with scores."""
        return tuple(outcome for outcome in self.outcomes if outcome.scores is not None)

    @property
    def failed(self) -> tuple[Outcome, ...]:
        """The outcomes with an error."""
        return tuple(outcome for outcome in self.outcomes if outcome.scores is None)

    @property
    def missing(self) -> int:
        """How many records have no line yet."""
        return int(self.identity["records"]["count"]) - len(self.outcomes)

    @property
    def digest(self) -> str:
        """SHA-256 of what was measured and of every outcome, in the order of the case ids, without the seconds.

        A run that was stopped and resumed, or spread over workers, has the digest of one that was not.
        """
        found = hashlib.sha256(canonical(self.identity).encode())
        for outcome in self.outcomes:
            found.update(f"\n{canonical(asdict(outcome) | {'seconds': None})}".encode())
        return found.hexdigest()

    def __repr__(self) -> str:
        return f"Run({self._told})"

    def _repr_html_(self) -> str:
        return f"<p>{escape(self._told)}</p>"

    @property
    def _told(self) -> str:
        names = self.manifest.get("names", {})
        method, model = names.get("method", self.identity.get("method")), names.get("model", "a model")
        counts = f"{len(self.scored):,} scored, {len(self.failed):,} failed, {self.missing:,} missing"
        return f"{method} on {model}: {counts}; {self.path}"

    def to_pandas(self) -> Any:
        """A data frame with a row for each record: its columns on the scale of Table 2, or its error.

        Raises:
            InputError: pandas is not installed.
        """
        rows = []
        for one in self.outcomes:
            columns = {} if one.scores is None else RecordScores.from_json(one.scores).columns
            scaled = {key: _scaled(key, value) for key, value in columns.items()}
            rows.append({"case_id": one.case_id, **scaled, "error": one.error, "seconds": one.seconds})
        fields = ("case_id", *Column.keys(rows), "error", "seconds")
        return data_frame({field: [row.get(field) for row in rows] for field in fields}).set_index("case_id")


def _scaled(key: str, value: float | None) -> float | None:
    return None if value is None else value * Column.of(key).scale


def read_run(path: Path, *, whole: bool = False) -> Run:
    """Read a run's folder, finished or not; nothing is changed. Those of version 0.1.0 are read too.

    Args:
        path: the folder.
        whole: an unfinished last line is an error.

    Raises:
        InputError: there is no such run, or it was condemned.
        FileFormatError: the manifest or a line is not as it was written.
    """
    manifest, contents = read_folder(
        Path(path), KIND, (1, SCHEMA), TITLE, lines=RECORDS, advice=ADVICE, whole=whole
    )
    checked(_Identity, manifest["run"], Path(path) / MANIFEST, "give another folder")
    return Run.of(Path(path), manifest, contents)


@dataclass(frozen=True)
class _Records:
    """Which records were asked for."""

    count: int
    sha256: str


@dataclass(frozen=True)
class _Identity:
    """What tables and reports know of what makes a run this run; there is more."""

    model: str
    records: _Records
    method: str | None = None
