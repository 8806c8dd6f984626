"""Averages of many facts' traces by role, with 95 % intervals (Figures 3 j-m, 4 and 9)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from knowedit.errors import FileFormatError, InputError
from knowedit.figures.tables import data_frame, html_table
from knowedit.intervals import Interval, of_probabilities
from knowedit.reading import checked, parsed, shown
from knowedit.tensorfile import Kind, read_tensors, write_tensors
from knowedit.tracing.prompts import Role
from knowedit.tracing.settings import TraceSettings
from knowedit.tracing.summary import FactSummary
from knowedit.tracing.trace import Trace
from knowedit.writing import PathLike

KIND: Final = Kind("trace_average", "1", "average of traces", "AverageTrace.save")
ADVICE: Final = "make it again"
ABOUT: Final = ("model", "digest", "n_layers")
MAPS: Final = ("mean", "low", "high")
COLUMNS: Final = ("counts", "baselines")
INTERVALS: Final = ("clean", "corrupted", "total_effect", "best_last_subject", "best_anywhere")


@dataclass(frozen=True, eq=False, repr=False)
class AverageTrace:
    """Restored probabilities, averaged over facts; a fact counts once, however many tokens it has.

    Intervals are those of `knowedit.intervals.of_probabilities`, over facts, for 95 %. With one fact they are NaN.

    Attributes:
        roles: those that occur, in the order of a text.
        mean: ``(roles, layers)``, float64: restored probability. Several tokens of one role in a text are
            averaged first, so the texts count alike.
        low: the intervals' lower ends.
        high: their upper ends.
        counts: ``(roles,)``, int64: how many facts have a token of the role.
        baselines: ``(roles,)``, float64: the corrupted probability, averaged over these facts.
        clean: the probability without corruption.
        corrupted: with corruption and without restoring.
        total_effect: clean minus corrupted, fact by fact.
        best_last_subject: each fact's own largest restored probability at its last subject token, averaged.
        best_anywhere: the same over all its tokens.
        settings: how all traces were made; a subject that was substituted is left out, as each fact may have its
            own.
        model: the model's name.
        digest: of the `Fingerprint` of its weights.
        n_facts: how many facts.
        n_predicted: of how many the model predicts the answer.
    """

    roles: tuple[Role, ...]
    mean: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    counts: NDArray[np.int64]
    baselines: NDArray[np.float64]
    clean: Interval
    corrupted: Interval
    total_effect: Interval
    best_last_subject: Interval
    best_anywhere: Interval
    settings: TraceSettings
    model: str
    digest: str
    n_facts: int
    n_predicted: int

    @classmethod
    def of(
        cls, summaries: Sequence[FactSummary], settings: TraceSettings, *, model: str, digest: str
    ) -> AverageTrace:
        """Average what is kept of each fact's trace.

        Args:
            summaries: one a fact.
            settings: how all traces were made.
            model: the model's name.
            digest: of its weights.

        Raises:
            InputError: no fact.
        """
        if not summaries:
            raise InputError("there are no facts to average: give at least one")
        roles = tuple(role for role in Role if any(role in one.restored for one in summaries))
        having = {role: [one for one in summaries if role in one.restored] for role in roles}
        rows = [np.stack([one.restored[role] for one in group]) for role, group in having.items()]
        mean, low, high = (np.stack(part) for part in zip(*map(of_probabilities, rows), strict=True))
        groups = having.values()
        return cls(
            roles=roles,
            mean=mean,
            low=low,
            high=high,
            counts=np.array([len(group) for group in groups], dtype=np.int64),
            baselines=np.array([np.mean([one.corrupted for one in group]) for group in groups]),
            **{name: _over(summaries, name) for name in INTERVALS},
            settings=settings,
            model=model,
            digest=digest,
            n_facts=len(summaries),
            n_predicted=sum(one.predicted for one in summaries),
        )

    @property
    def n_layers(self) -> int:
        """The model's layers."""
        return int(self.mean.shape[1])

    @property
    def indirect_effects(self) -> NDArray[np.float64]:
        """``(roles, layers)``: restored minus corrupted probability, over the facts that have the role's tokens.

        For a role that all facts have this is ``mean - corrupted.mean``.
        """
        return self.mean - self.baselines[:, None]

    def row(self, role: Role) -> int:
        """The row of a role.

        Raises:
            InputError: no fact has a token of that role.
        """
        if role not in self.roles:
            raise InputError(
                f"no fact has a token with the role {role!r}: found {', '.join(map(repr, self.roles))}"
            )
        return self.roles.index(role)

    def at(self, role: Role, layer: int) -> Interval:
        """The restored probability at a role and layer.

        Raises:
            InputError: no such role or layer.
        """
        row = self.row(role)
        if not 0 <= layer < self.n_layers:
            raise InputError(f"layer {layer}: the average has layers 0 to {self.n_layers - 1}")
        mean, low, high = (float(part[row, layer]) for part in (self.mean, self.low, self.high))
        return Interval(mean, low, high, int(self.counts[row]))

    def peak(self, role: Role) -> tuple[int, Interval]:
        """The layer whose mean is largest, and that mean. It is chosen after looking, so it is biased upward.

        Raises:
            InputError: no fact has a token of that role.
        """
        layer = int(self.mean[self.row(role)].argmax())
        return layer, self.at(role, layer)

    def __repr__(self) -> str:
        return f"AverageTrace({self._told}; {len(self.roles)} roles, {self.n_layers} layers)"

    def _repr_html_(self) -> str:
        rows = [
            [f"{role} ({count})", *(f"{100 * value:.0f}" for value in values)]
            for role, count, values in zip(self.roles, self.counts, self.mean, strict=True)
        ]
        caption = f"{self._told}. Mean restored probability in %, by role (facts) and layer"
        return html_table(caption, ["", *range(self.n_layers)], rows, self.mean / max(self.mean.max(), 1e-9))

    @property
    def _told(self) -> str:
        levels = f"clean {self.clean.mean:.3f}, corrupted {self.corrupted.mean:.3f}"
        return f"{self.n_facts} facts in {self.model}: restored {self.settings.label}; {levels}"

    def to_pandas(self) -> Any:
        """A data frame with a row for each role and layer: restored probability, its interval, indirect effect.

        Raises:
            InputError: pandas is not installed.
        """
        layers = range(self.n_layers)
        return data_frame(
            {
                "role": [role.value for role in self.roles for _ in layers],
                "layer": [layer for _ in self.roles for layer in layers],
                "restored": self.mean.ravel(),
                "low": self.low.ravel(),
                "high": self.high.ravel(),
                "indirect_effect": self.indirect_effects.ravel(),
                "facts": np.repeat(self.counts, self.n_layers),
            }
        )

    def save(self, path: PathLike, *, force: bool = False) -> None:
        """Write one safetensors file, atomically; the same average gives the same bytes.

        Args:
            path: the file; its folder must exist.
            force: replace a file that is there.

        Raises:
            InputError: no such folder, a full disk, or a file that is there.
        """
        numbers = {name: _numbers(getattr(self, name)) for name in INTERVALS}
        arrays = {name: getattr(self, name) for name in (*MAPS, *COLUMNS)} | numbers
        rest = {
            "roles": self.roles,
            "setting": {
                "model": self.model,
                "digest": self.digest,
                **self.settings.to_json(),
                "n_layers": self.n_layers,
            },
            "n_facts": self.n_facts,
            "n_predicted": self.n_predicted,
        }
        write_tensors(path, KIND, arrays, {"average": json.dumps(rest)}, force=force)

    @classmethod
    def load(cls, path: PathLike) -> AverageTrace:
        """Read an average that `save` wrote.

        Raises:
            InputError: there is no such file.
            FileFormatError: it is truncated, altered, of another kind, or of another schema.
        """
        content = read_tensors(path, KIND)
        found = parsed(content.metadata.get("average", "null"), f"{path}, its entry average,", ADVICE)
        stored = checked(_Stored, found, path, ADVICE)
        try:
            return cls._from_file(content.tensors, stored)
        except (KeyError, ValueError) as error:
            raise FileFormatError(
                f"{path} is a file of averages with missing or wrong entries ({shown(error)}): {ADVICE}"
            ) from None

    @classmethod
    def _from_file(cls, arrays: Mapping[str, NDArray[Any]], stored: _Stored) -> AverageTrace:
        settings = dict(stored.setting)
        about = checked(_About, {name: settings.pop(name, None) for name in ABOUT}, "its setting", ADVICE)
        numbers: dict[str, Any] = {name: arrays[name] for name in (*MAPS, *COLUMNS)}
        numbers |= {name: _interval(arrays[name]) for name in INTERVALS}
        found = cls(
            roles=stored.roles,
            settings=TraceSettings.from_json(settings),
            model=about.model,
            digest=about.digest,
            n_facts=stored.n_facts,
            n_predicted=stored.n_predicted,
            **numbers,
        )
        _require_numbers(found, about.n_layers)
        return found


@dataclass(frozen=True)
class _Stored:
    """The entries of a file."""

    roles: tuple[Role, ...]
    setting: dict[str, Any]
    n_facts: int
    n_predicted: int


@dataclass(frozen=True)
class _About:
    """What the traces have in common, besides their settings."""

    model: str
    digest: str
    n_layers: int


def _over(summaries: Sequence[FactSummary], name: str) -> Interval:
    values = np.array([getattr(one, name) for one in summaries], dtype=np.float64)
    found = of_probabilities(values, -1.0 if name == "total_effect" else 0.0)
    mean, low, high = (float(part) for part in found)
    return Interval(mean, low, high, len(values))


def _numbers(own: Interval) -> NDArray[np.float64]:
    return np.array([own.mean, own.low, own.high, own.n], dtype=np.float64)


def _interval(numbers: NDArray[np.float64]) -> Interval:
    if numbers.shape != (4,):
        raise ValueError(f"an interval has the shape {numbers.shape}")
    mean, low, high, n = (float(number) for number in numbers)
    if not (np.isfinite(mean) and n >= 1 and n.is_integer()):
        raise ValueError(f"no mean of {n} facts is {mean}")
    return Interval(mean, low, high, int(n))


def _require_numbers(average: AverageTrace, n_layers: int) -> None:
    shape = (len(average.roles), n_layers)
    maps, columns = ([getattr(average, name) for name in names] for names in (MAPS, COLUMNS))
    if {own.shape for own in maps} != {shape} or {own.shape for own in columns} != {shape[:1]}:
        raise ValueError(f"expected means of shape {shape}")
    known = np.isfinite(average.mean).all() and np.isfinite(average.baselines).all()
    facts, counts = average.n_facts, average.counts
    if not known or counts.dtype != np.int64 or any(own.dtype != np.float64 for own in maps):
        raise ValueError("a mean is NaN or infinite, or of another number format")
    if not (0 <= average.n_predicted <= facts and counts.min() >= 1 and counts.max() <= facts):
        raise ValueError(f"the numbers of facts do not fit {facts} facts")
    if len(set(average.roles)) < len(average.roles):
        raise ValueError("a role is there twice")


def average(traces: Iterable[Trace]) -> AverageTrace:
    """Average traces of many facts; an iterator is read one trace at a time, and none is kept.

    Raises:
        InputError: no trace, or traces of different models or settings.
        NumericalError: a probability that is NaN or infinite.
    """
    common: dict[str, Any] = {}
    summaries = []
    for trace in traces:
        own = _in_common(trace)
        common = common or own
        _require_same(common, own, trace.text)
        summaries.append(FactSummary.of(trace))
    if not summaries:
        raise InputError("there are no traces to average: give at least one")
    settings = trace.settings.shared()
    return AverageTrace.of(summaries, settings, model=common["model"], digest=common["digest"])


def _in_common(trace: Trace) -> dict[str, Any]:
    made = trace.provenance
    layers = {"n_layers": trace.n_layers}
    return {"model": made.model, "digest": made.digest} | layers | vars(trace.settings.shared())


def _require_same(first: dict[str, Any], other: dict[str, Any], text: str) -> None:
    differing = [name for name, value in first.items() if other[name] != value]
    if differing:
        listed = "; ".join(f"{name} is {other[name]}, not {first[name]}" for name in differing)
        raise InputError(
            f"the trace of {text!r} is not like those before it: {listed}; average like with like"
        )
