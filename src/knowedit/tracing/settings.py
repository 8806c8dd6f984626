"""How a trace is made, as one value: what is restored, in which layers together, and against which corruption."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final, Literal, get_args

from torch import Generator, Tensor

from knowedit.errors import InputError
from knowedit.models import LanguageModel, Prompt
from knowedit.reading import checked
from knowedit.tracing.corruptions.kinds import DRAWS, Corruption, GaussianNoise, RelativeNoise, Substitution

Part = Literal["hidden", "mlp", "attention"]
"""What is restored: the states after a block, or the outputs of its MLP or of its attention."""
Severed = Literal["mlp", "attention"]
"""What is held at its values of the corrupted run."""

KINDS: Final[dict[str, type[Any]]] = {
    "gaussian": GaussianNoise,
    "relative": RelativeNoise,
    "substitution": Substitution,
}
"""The corruptions that suit any fact, by the name in their settings. A fixed noise is made for one subject."""

ADVICE: Final = "expected what TraceSettings.to_json gives"

NAMES: Final[dict[Part, str]] = {"hidden": "state", "mlp": "MLP", "attention": "attention"}

PAPER_SIZE = 10
PAPER_DEPTH = 48
"""The paper takes ten layers of GPT-2 XL's forty-eight."""


@dataclass(frozen=True)
class Window:
    """``before`` layers below the centre, the centre, and ``after`` layers above it.

    Attributes:
        before: how many layers below.
        after: how many layers above.

    Raises:
        InputError: a negative number.
    """

    before: int = 0
    after: int = 0

    def __post_init__(self) -> None:
        if self.before < 0 or self.after < 0:
            raise InputError(f"a window of {self.before} before and {self.after} after: neither may be < 0")

    @classmethod
    def paper(cls, size: int = PAPER_SIZE) -> Window:
        """Section 3: ten layers are ``[l - 4, ..., l + 5]``; an even window has one more layer above."""
        _check_size(size)
        return cls((size - 1) // 2, size // 2)

    @classmethod
    def released(cls, size: int = PAPER_SIZE) -> Window:
        """The released code: ten layers are ``[l - 5, ..., l + 4]``; an even window has one more below."""
        _check_size(size)
        return cls(size // 2, (size - 1) // 2)

    @classmethod
    def for_depth(cls, n_layers: int) -> Window:
        """The paper's window for a model of another depth: ten of 48 layers, in proportion.

        The size is ``10 · n_layers / 48``, rounded to the nearest whole number, halves up, and at least 1:
        12 layers give 3, 28 give 6.
        """
        return cls.paper(max(1, (2 * PAPER_SIZE * n_layers + PAPER_DEPTH) // (2 * PAPER_DEPTH)))

    @property
    def size(self) -> int:
        """The number of layers, where the model's ends do not clip it."""
        return self.before + 1 + self.after

    def layers(self, centre: int, n_layers: int) -> range:
        """The layers around ``centre``, without those that the model does not have."""
        return range(max(0, centre - self.before), min(n_layers, centre + self.after + 1))

    def check(self, n_layers: int) -> Window:
        """The window itself if it fits the model.

        Raises:
            InputError: more layers than the model has.
        """
        if self.size > n_layers:
            raise InputError(
                f"a window of {self.size} layers is larger than the model, which has {n_layers}: "
                "take a smaller one, or Window.for_depth(n_layers)"
            )
        return self


@dataclass(frozen=True)
class TraceSettings:
    """How a trace is made.

    Attributes:
        part: what is restored: ``hidden`` (the state after a block), ``mlp`` or ``attention`` (what the sublayer
            adds).
        window: the layers that are restored together; by default one.
        sever: the part that is held at its corrupted values at the last subject token, in every layer, or None.
        corruption: `GaussianNoise`, `RelativeNoise`, `FixedNoise` or `Substitution`. By default the noise is
            three standard deviations of the subject's embeddings, as no ν suits every model: the paper's are
            ``GaussianNoise(0.1)`` for GPT-2 XL and ``GaussianNoise(0.025)`` for GPT-J.
        draws: how many corruptions; by default 10 for random noise, as many as a fixed noise has, and 1 for a
            substitution.

    Raises:
        InputError: a value that no trace could use.
    """

    part: Part = "hidden"
    window: Window = field(default_factory=Window)
    sever: Severed | None = None
    corruption: Corruption = field(default_factory=RelativeNoise)
    draws: int | None = None

    def __post_init__(self) -> None:
        _check_choice("part", self.part, get_args(Part))
        _check_choice("sever", self.sever, (None, *get_args(Severed)))
        if self.draws is not None and self.draws < 1:
            raise InputError(f"draws is {self.draws}, expected at least 1: the paper takes {DRAWS}")

    @property
    def label(self) -> str:
        """What is restored and severed, in a few words: ``MLP, 3 layers, attention severed``."""
        name = NAMES[self.part]
        text = f"one {name}" if self.window.size == 1 else f"{name}, {self.window.size} layers"
        return text if self.sever is None else f"{text}, {NAMES[self.sever]} severed"

    def shared(self) -> TraceSettings:
        """Without the subject that is substituted, as each fact of an average may have its own."""
        own = self.corruption.settings()
        return replace(self, corruption=_corruption({k: v for k, v in own.items() if k != "subject"}))

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON; of a fixed noise only that it was one."""
        return {
            "part": self.part,
            "window": asdict(self.window),
            "sever": self.sever,
            "corruption": self.corruption.settings(),
            "draws": self.draws,
        }

    @classmethod
    def from_json(cls, entries: Mapping[str, Any]) -> TraceSettings:
        """What `to_json` wrote.

        A corruption that its settings do not suffice to repeat, such as a fixed noise or one of the user's own,
        comes back with its settings alone.

        Raises:
            InputError: a missing, wrong or unknown entry.
        """
        stored = checked(_Stored, entries, "the settings of a trace", ADVICE)
        if unknown := sorted(entries.keys() - vars(stored).keys()):
            raise InputError(f"the settings of a trace have an unknown entry {unknown[0]!r}: {ADVICE}")
        return cls(**(vars(stored) | {"corruption": _corruption(stored.corruption)}))


@dataclass(frozen=True)
class _Stored:
    """Settings as JSON has them."""

    part: Part
    window: Window
    sever: Severed | None
    corruption: dict[str, Any]
    draws: int | None = None


@dataclass(frozen=True)
class _Recorded(Corruption):
    """A corruption of which a file holds the settings and nothing to repeat it with."""

    entries: dict[str, Any]

    def corrupt(
        self,
        _lm: LanguageModel,
        _prompt: Prompt,
        _subject: str,
        _draws: int | None,
        _gen: Generator | None,
        /,
    ) -> tuple[Tensor, Tensor | None]:
        raise InputError(
            f"the settings {self.entries} do not suffice to repeat the corruption: give the corruption itself, "
            "for instance FixedNoise(trace.noise)"
        )

    def settings(self) -> dict[str, Any]:
        return dict(self.entries)


def _corruption(entries: Mapping[str, Any]) -> Corruption:
    rest = dict(entries)
    kind = rest.pop("kind", None)
    if not isinstance(kind, str):
        raise InputError(f"the corruption of a trace has no kind: {ADVICE}")
    if kind not in KINDS or not rest:
        return _Recorded(dict(entries))
    made: Corruption = checked(KINDS[kind], rest, f"the {kind} corruption of a trace", ADVICE)
    return made


def _check_size(size: int) -> None:
    if size < 1:
        raise InputError(f"a window of {size} layers: give at least 1")


def _check_choice(name: str, value: object, choices: tuple[object, ...]) -> None:
    if value not in choices:
        raise InputError(f"{name} is {value!r}: use one of {', '.join(map(repr, choices))}")
