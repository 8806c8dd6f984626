"""The result of a causal trace: a probability for each draw, token and layer, and a file of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Final

import torch
from torch import Tensor

from knowedit.errors import FileFormatError
from knowedit.figures.tables import data_frame, html_table
from knowedit.reading import checked, parsed, shown
from knowedit.tensorfile import Kind, read_tensors, write_tensors
from knowedit.tracing.prompts import Role
from knowedit.tracing.settings import TraceSettings
from knowedit.writing import PathLike

KIND: Final = Kind("trace", "1", "trace", "Trace.save")
TENSORS: Final = {
    "restored_draws": "scores",
    "corrupted_draws": "corrupted_scores",
    "noise": "noise",
}
"""What tensors are called in a file, by attribute."""
ADVICE: Final = "make the trace again"
ONE: Final = 1 + 1e-6
"""The largest probability: sums of logarithms round."""
ENTRIES: Final = ("text", "subject", "token_ids", "tokens", "roles", "answer", "answer_ids", "predicted")


@dataclass(frozen=True)
class TraceProvenance:
    """Where a trace comes from; all of it JSON.

    Attributes:
        model: the model's name.
        digest: of the `Fingerprint` of its weights at that time, an applied edit included.
        dtype: the model's number format.
        seed: of the generator, or None if nothing was drawn. Noise drawn from a generator that was used
            before cannot be had from the seed alone.
        versions: of the packages that computed it.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}  # an entry that is not known would be lost

    model: str
    digest: str
    dtype: str
    seed: int | None
    versions: dict[str, str]


@dataclass(frozen=True, eq=False, repr=False)
class Trace:
    """What restoring clean values does to the probability of the answer in a corrupted run.

    Every probability is that of the whole answer: of all its tokens, by teacher forcing. The answer's own
    tokens are read in every run and never restored, so the rows of the map are the prompt's tokens. A cell
    ``[token, layer]`` has the clean values of one part at that token, in the window around that layer, put into
    the corrupted run.

    Attributes:
        text: the prompt with its subject.
        subject: the subject's first token, and one past its last.
        token_ids: the prompt's tokens.
        tokens: a label for each.
        roles: what each is, seen from the subject.
        answer: the object.
        answer_ids: its tokens.
        predicted: whether the model predicts it after the prompt.
        settings: how the trace was made; its ``draws`` is a number.
        clean: the probability without corruption.
        corrupted_draws: ``(draws,)``, float64: the corrupted probability, without restoring, of each draw.
        restored_draws: ``(draws, tokens, layers)``, float64: the restored probability of each draw.
        noise: ``(draws, subject tokens, width)``, float32: `FixedNoise` of it repeats the trace. None
            where a subject was substituted.
        provenance: where the trace comes from.
    """

    text: str
    subject: tuple[int, int]
    token_ids: tuple[int, ...]
    tokens: tuple[str, ...]
    roles: tuple[Role, ...]
    answer: str
    answer_ids: tuple[int, ...]
    predicted: bool
    settings: TraceSettings
    clean: float
    corrupted_draws: Tensor
    restored_draws: Tensor
    noise: Tensor | None
    provenance: TraceProvenance

    @property
    def n_layers(self) -> int:
        """How many layers the map has: those of the model."""
        return int(self.restored_draws.shape[2])

    @property
    def corrupted(self) -> float:
        """The corrupted probability, the mean over the draws."""
        return float(self.corrupted_draws.mean())

    @property
    def restored(self) -> Tensor:
        """``(tokens, layers)``: the restored probability, the mean over the draws."""
        return self.restored_draws.mean(dim=0)

    @property
    def total_effect(self) -> float:
        """Clean minus corrupted probability."""
        return self.clean - self.corrupted

    @property
    def indirect_effects(self) -> Tensor:
        """``(tokens, layers)``: restored minus corrupted probability, the mean over the draws."""
        return self.restored - self.corrupted

    @property
    def spread(self) -> Tensor:
        """``(tokens, layers)``: the standard deviation over the draws of restored minus corrupted.

        NaN for one draw.
        """
        differences = self.restored_draws - self.corrupted_draws[:, None, None]
        return differences.std(dim=0) if len(differences) > 1 else torch.full_like(differences[0], torch.nan)

    def tokens_with(self, role: Role) -> list[int]:
        """The tokens that have a role, in the order of the text."""
        return [token for token, own in enumerate(self.roles) if own == role]

    def __repr__(self) -> str:
        shape = f"{len(self.tokens)} tokens, {self.n_layers} layers, {self.settings.draws} draws"
        return f"Trace({self._told}; {shape})"

    def _repr_html_(self) -> str:
        restored = self.restored.tolist()
        start, stop = self.subject
        rows = [
            [token + "*" * (start <= row < stop), *(f"{100 * value:.0f}" for value in restored[row])]
            for row, token in enumerate(self.tokens)
        ]
        high = max(float(self.restored.max()), 1e-9)
        shades = [[value / high for value in values] for values in restored]
        caption = f"{self._told}. Restored probability in %, by token (*: corrupted) and layer"
        return html_table(caption, ["", *range(self.n_layers)], rows, shades)

    @property
    def _told(self) -> str:
        levels = f"clean {self.clean:.3f}, corrupted {self.corrupted:.3f}"
        return f"{self.text!r} … {self.answer.strip()!r}: restored {self.settings.label}; {levels}"

    def to_pandas(self) -> Any:
        """A data frame with a row for each cell: token, layer, restored probability, indirect effect.

        Tokens are numbers, as the same text may occur twice; ``text`` and ``role`` say what they are.

        Raises:
            InputError: pandas is not installed.
        """
        cells = [(token, layer) for token in range(len(self.tokens)) for layer in range(self.n_layers)]
        return data_frame(
            {
                "token": [token for token, _ in cells],
                "text": [self.tokens[token] for token, _ in cells],
                "role": [self.roles[token].value for token, _ in cells],
                "layer": [layer for _, layer in cells],
                "restored": self.restored.flatten().tolist(),
                "indirect_effect": self.indirect_effects.flatten().tolist(),
            }
        )

    def save(self, path: PathLike, *, force: bool = False) -> None:
        """Write the trace as one safetensors file, atomically; the same trace gives the same bytes.

        Args:
            path: the file; its folder must exist.
            force: replace a file that is there.

        Raises:
            InputError: no such folder, a full disk, or a file that is there.
        """
        settings = self.settings.to_json()
        entries = {name: getattr(self, name) for name in ENTRIES}
        entries |= {name: settings[name] for name in ("part", "window", "sever")}
        entries |= {"clean_score": self.clean}
        entries |= {"provenance": asdict(self.provenance) | {"corruption": settings["corruption"]}}
        tensors = {name: getattr(self, attribute) for attribute, name in TENSORS.items()}
        arrays = {name: value.numpy() for name, value in tensors.items() if value is not None}
        write_tensors(path, KIND, arrays, {"trace": json.dumps(entries)}, force=force)

    @classmethod
    def load(cls, path: PathLike) -> Trace:
        """Read a trace that `save` wrote.

        Raises:
            InputError: there is no such file.
            FileFormatError: it is truncated, altered, of another kind, or of another schema.
        """
        content = read_tensors(path, KIND)
        found = parsed(content.metadata.get("trace", "null"), f"{path}, its entry trace,", ADVICE)
        stored = checked(_Stored, found, path, ADVICE)
        try:
            return cls._from_file(content.tensors, stored)
        except (KeyError, ValueError) as error:
            raise FileFormatError(
                f"{path} is a trace file with missing or wrong entries ({shown(error)}): {ADVICE}"
            ) from None

    @classmethod
    def _from_file(cls, arrays: Mapping[str, Any], stored: _Stored) -> Trace:
        made = dict(stored.provenance)
        settings: dict[str, Any] = {"part": stored.part, "window": stored.window, "sever": stored.sever}
        settings |= {"corruption": made.pop("corruption"), "draws": len(arrays["scores"])}
        tensors: dict[str, Any] = {
            key: torch.from_numpy(arrays[name]) for key, name in TENSORS.items() if name in arrays
        }
        if not {"restored_draws", "corrupted_draws"} <= tensors.keys() or len(tensors) < len(arrays):
            raise ValueError(f"it has the tensors {', '.join(arrays)}")
        trace = cls(
            **{name: getattr(stored, name) for name in ENTRIES},
            settings=TraceSettings.from_json(settings),
            clean=stored.clean_score,
            provenance=checked(TraceProvenance, made, "its provenance", ADVICE),
            noise=tensors.pop("noise", None),
            **tensors,
        )
        _require_numbers(trace)
        return trace


@dataclass(frozen=True)
class _Stored:
    """The entries of a file."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    text: str
    subject: tuple[int, int]
    token_ids: tuple[int, ...]
    tokens: tuple[str, ...]
    roles: tuple[Role, ...]
    answer: str
    answer_ids: tuple[int, ...]
    predicted: bool
    part: str
    window: dict[str, int]
    sever: str | None
    clean_score: float
    provenance: dict[str, Any]


def _require_numbers(trace: Trace) -> None:
    draws, tokens, layers = trace.restored_draws.shape
    start, stop = trace.subject
    noise = trace.noise
    fits = (
        tokens == len(trace.token_ids) == len(trace.tokens) == len(trace.roles)
        and tuple(trace.corrupted_draws.shape) == (draws,)
        and 0 <= start < stop <= tokens
        and (noise is None or (noise.ndim == 3 and tuple(noise.shape[:2]) == (draws, stop - start)))
    )
    if not fits:
        raise ValueError(f"scores of shape {(draws, tokens, layers)} do not fit {tokens} tokens")
    probabilities = (torch.tensor(trace.clean), trace.corrupted_draws, trace.restored_draws)
    if any(one.dtype == torch.int64 or not bool(((one >= 0) & (one <= ONE)).all()) for one in probabilities):
        raise ValueError("a score is no probability")
    if noise is not None and not (noise.is_floating_point() and bool(noise.isfinite().all())):
        raise ValueError("the noise has NaN or infinity in it")
