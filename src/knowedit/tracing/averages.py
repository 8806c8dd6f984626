"""Averages of many facts' traces by role, with 95 % intervals (Figures 3 j-m, 4 and 9)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from knowedit.errors import FileFormatError, InputError
from knowedit.intervals import Interval, student, student_interval
from knowedit.tensorfile import Kind, PathLike, read_tensors, write_tensors
from knowedit.tracing.roles import Role
from knowedit.tracing.setting import TraceSetting
from knowedit.tracing.summary import FactSummary, summarise
from knowedit.tracing.trace import Part, Severed, Trace
from knowedit.tracing.windows import Window

KIND: Final = Kind("trace_average", "1", "average of traces", "AverageTrace.save")
MAPS: Final = ("mean", "low", "high")
COLUMNS: Final = ("counts", "baselines")
INTERVALS: Final = ("clean", "corrupted", "total_effect", "best_last_subject", "best_anywhere")


@dataclass(frozen=True, eq=False)
class AverageTrace:
    """Restored probabilities, averaged over facts; a fact counts once, however many tokens it has.

    Intervals are Student's, over facts, for 95 %. With one fact they are NaN.

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
        setting: what all traces have in common.
        n_facts: how many facts.
        n_predicted: of how many the model says the answer.
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
    setting: TraceSetting
    n_facts: int
    n_predicted: int

    @property
    def model(self) -> str:
        """The model's name."""
        return self.setting.model

    @property
    def part(self) -> Part:
        """What is restored."""
        return self.setting.part

    @property
    def window(self) -> Window:
        """The layers that are restored together."""
        return self.setting.window

    @property
    def sever(self) -> Severed | None:
        """The part that is held at its corrupted values, or None."""
        return self.setting.sever

    @property
    def corruption(self) -> dict[str, Any]:
        """The corruption's settings."""
        return self.setting.corruption

    @property
    def draws(self) -> int:
        """Corruptions for each fact."""
        return self.setting.draws

    @property
    def n_layers(self) -> int:
        """The model's layers."""
        return self.setting.n_layers

    @property
    def indirect(self) -> NDArray[np.float64]:
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
        return Interval(mean, low, high, int(self.counts[row]), "student")

    def peak(self, role: Role) -> tuple[int, Interval]:
        """The layer whose mean is largest, and that mean. It is chosen after looking, so it is biased upward.

        Raises:
            InputError: no fact has a token of that role.
        """
        layer = int(self.mean[self.row(role)].argmax())
        return layer, self.at(role, layer)

    def save(self, path: PathLike) -> None:
        """Write one safetensors file, atomically; the same average gives the same bytes.

        Raises:
            InputError: the folder does not exist.
        """
        numbers = {name: _numbers(getattr(self, name)) for name in INTERVALS}
        arrays = {name: getattr(self, name) for name in (*MAPS, *COLUMNS)} | numbers
        rest = {
            "roles": self.roles,
            "setting": asdict(self.setting),
            "n_facts": self.n_facts,
            "n_predicted": self.n_predicted,
        }
        write_tensors(path, KIND, arrays, {"average": json.dumps(rest)})

    @classmethod
    def load(cls, path: PathLike) -> AverageTrace:
        """Read an average that `save` wrote.

        Raises:
            InputError: there is no such file.
            FileFormatError: it is truncated, altered, of another kind, or of another schema.
        """
        content = read_tensors(path, KIND)
        try:
            return cls._from_file(content.tensors, json.loads(content.metadata["average"]))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise FileFormatError(
                f"{Path(path)} is a file of averages with missing or wrong entries ({error}): make it again"
            ) from None

    @classmethod
    def _from_file(cls, arrays: Mapping[str, NDArray[Any]], entries: dict[str, Any]) -> AverageTrace:
        setting = dict(entries["setting"])
        setting["window"] = Window(**setting["window"])
        numbers: dict[str, Any] = {name: arrays[name] for name in (*MAPS, *COLUMNS)}
        numbers |= {name: _interval(arrays[name]) for name in INTERVALS}
        found = cls(
            roles=tuple(Role(role) for role in entries["roles"]),
            setting=TraceSetting(**setting),
            n_facts=int(entries["n_facts"]),
            n_predicted=int(entries["n_predicted"]),
            **numbers,
        )
        _require_shapes(found)
        return found


def _numbers(own: Interval) -> NDArray[np.float64]:
    return np.array([own.mean, own.low, own.high, own.n], dtype=np.float64)


def _interval(numbers: NDArray[np.float64]) -> Interval:
    mean, low, high, n = (float(number) for number in numbers)
    return Interval(mean, low, high, int(n), "student")


def _require_shapes(average: AverageTrace) -> None:
    shape = (len(average.roles), average.n_layers)
    fits = all(getattr(average, name).shape == shape for name in MAPS)
    if not fits or any(getattr(average, name).shape != shape[:1] for name in COLUMNS):
        raise ValueError(f"expected means of shape {shape}")


def average(traces: Iterable[Trace]) -> AverageTrace:
    """Average traces of many facts; an iterator is read one trace at a time, and none is kept.

    Raises:
        InputError: no trace, or traces of different models or settings.
        NumericalError: a probability that is NaN or infinite.
    """
    setting: TraceSetting | None = None
    summaries = []
    for trace in traces:
        own = TraceSetting.of(trace)
        setting = own if setting is None else setting
        _require_same(setting, own, trace.text)
        summaries.append(summarise(trace))
    if setting is None:
        raise InputError("there are no traces to average: give at least one")
    return average_summaries(summaries, setting)


def _require_same(first: TraceSetting, other: TraceSetting, text: str) -> None:
    differing = [name for name, value in vars(first).items() if getattr(other, name) != value]
    if differing:
        listed = "; ".join(
            f"{name} is {getattr(other, name)}, not {getattr(first, name)}" for name in differing
        )
        raise InputError(
            f"the trace of {text!r} is not like those before it: {listed}; average like with like"
        )


def average_summaries(summaries: Sequence[FactSummary], setting: TraceSetting) -> AverageTrace:
    """Average what is kept of each fact's trace.

    Raises:
        InputError: no fact.
    """
    if not summaries:
        raise InputError("there are no facts to average: give at least one")
    roles = tuple(role for role in Role if any(role in one.effects for one in summaries))
    having = [[one for one in summaries if role in one.effects] for role in roles]
    rows = [np.stack([one.effects[role] for one in group]) for role, group in zip(roles, having, strict=True)]
    mean, low, high = (np.stack(part) for part in zip(*map(student, rows), strict=True))
    numbers = {name: [float(getattr(one, name)) for one in summaries] for name in INTERVALS}
    return AverageTrace(
        roles=roles,
        mean=mean,
        low=low,
        high=high,
        counts=np.array([len(group) for group in having], dtype=np.int64),
        baselines=np.array([np.mean([one.corrupted for one in group]) for group in having]),
        setting=setting,
        n_facts=len(summaries),
        n_predicted=sum(one.predicted for one in summaries),
        **{name: student_interval(values) for name, values in numbers.items()},
    )
