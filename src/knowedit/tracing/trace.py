"""The result of a causal trace: a score for each draw, token and layer, and a file of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final, Literal

import torch
from torch import Tensor

from knowedit.errors import FileFormatError
from knowedit.tensorfile import Kind, PathLike, read_tensors, write_tensors
from knowedit.tracing.roles import Role
from knowedit.tracing.windows import Window

Part = Literal["hidden", "mlp", "attention"]
Severed = Literal["mlp", "attention"]

KIND: Final = Kind("trace", "1", "trace", "Trace.save")
TENSORS: Final = ("scores", "corrupted_scores", "noise")


@dataclass(frozen=True)
class TraceProvenance:
    """Where a trace comes from; all of it JSON.

    Attributes:
        model: the model's name.
        digest: of the `Fingerprint` of its weights at that time, an applied edit included.
        dtype: the model's number format.
        corruption: its settings; the noise itself is in the trace.
        seed: of the generator, or None if nothing was drawn. Noise drawn from a generator that was used
            before cannot be had from the seed alone.
        versions: of the packages that computed it.
    """

    model: str
    digest: str
    dtype: str
    corruption: dict[str, Any]
    seed: int | None
    versions: dict[str, str]


@dataclass(frozen=True, eq=False)
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
        predicted: whether the model says it after the prompt.
        part: what is restored: ``hidden`` is the state after a block.
        window: the layers that are restored together.
        sever: the part that is held at its corrupted values, at the last subject token in every layer.
        clean_score: the probability without corruption.
        corrupted_scores: ``(draws,)``, float64: without restoring.
        scores: ``(draws, tokens, layers)``, float64: restored.
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
    part: Part
    window: Window
    sever: Severed | None
    clean_score: float
    corrupted_scores: Tensor
    scores: Tensor
    noise: Tensor | None
    provenance: TraceProvenance

    @property
    def draws(self) -> int:
        """How many corruptions were tried."""
        return int(self.scores.shape[0])

    @property
    def n_layers(self) -> int:
        """How many layers the map has: those of the model."""
        return int(self.scores.shape[2])

    @property
    def effects(self) -> Tensor:
        """``(tokens, layers)``: the mean over the draws of the restored probability."""
        return self.scores.mean(dim=0)

    @property
    def corrupted_score(self) -> float:
        """The mean over the draws of the probability without restoring."""
        return float(self.corrupted_scores.mean())

    @property
    def total_effect(self) -> float:
        """Clean minus corrupted probability."""
        return self.clean_score - self.corrupted_score

    @property
    def indirect_effects(self) -> Tensor:
        """``(tokens, layers)``: restored minus corrupted probability, the mean over the draws."""
        return self.effects - self.corrupted_score

    @property
    def spread(self) -> Tensor:
        """``(tokens, layers)``: the standard deviation over the draws of restored minus corrupted.

        NaN for one draw.
        """
        differences = self.scores - self.corrupted_scores[:, None, None]
        return differences.std(dim=0) if self.draws > 1 else torch.full_like(differences[0], torch.nan)

    def tokens_with(self, role: Role) -> list[int]:
        """The tokens that have a role, in the order of the text."""
        return [token for token, own in enumerate(self.roles) if own == role]

    def save(self, path: PathLike) -> None:
        """Write the trace as one safetensors file, atomically; the same trace gives the same bytes.

        Raises:
            InputError: the folder does not exist.
        """
        tensors = {name: getattr(self, name) for name in TENSORS}
        rest = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in TENSORS}
        rest |= {"window": asdict(self.window), "provenance": asdict(self.provenance)}
        arrays = {name: value.numpy() for name, value in tensors.items() if value is not None}
        write_tensors(path, KIND, arrays, {"trace": json.dumps(rest)})

    @classmethod
    def load(cls, path: PathLike) -> Trace:
        """Read a trace that `save` wrote.

        Raises:
            InputError: there is no such file.
            FileFormatError: it is truncated, altered, of another kind, or of another schema.
        """
        content = read_tensors(path, KIND)
        try:
            return cls._from_file(content.tensors, json.loads(content.metadata["trace"]))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise FileFormatError(
                f"{Path(path)} is a trace file with missing or wrong entries ({error}): make the trace again"
            ) from None

    @classmethod
    def _from_file(cls, arrays: Mapping[str, Any], entries: dict[str, Any]) -> Trace:
        tensors = {name: torch.from_numpy(arrays[name]) for name in TENSORS if name in arrays}
        entries |= {name: tuple(entries[name]) for name in ("subject", "token_ids", "tokens", "answer_ids")}
        entries |= {
            "roles": tuple(Role(role) for role in entries["roles"]),
            "window": Window(**entries["window"]),
            "provenance": TraceProvenance(**entries["provenance"]),
        }
        trace = cls(**({"noise": None} | entries | tensors))
        _require_shapes(trace)
        return trace


def _require_shapes(trace: Trace) -> None:
    draws, tokens = trace.scores.shape[0], len(trace.token_ids)
    fits = (
        trace.scores.ndim == 3
        and trace.scores.shape[1] == tokens == len(trace.tokens) == len(trace.roles)
        and tuple(trace.corrupted_scores.shape) == (draws,)
        and 0 <= trace.subject[0] < trace.subject[1] <= tokens
    )
    if not fits:
        raise ValueError(f"scores of shape {tuple(trace.scores.shape)} do not fit {tokens} tokens")
