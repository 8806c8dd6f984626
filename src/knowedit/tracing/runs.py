"""The runs of one trace: the clean one, and the corrupted ones that every cell leaves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import torch
from torch import Tensor

from knowedit.errors import NumericalError
from knowedit.models import (
    LanguageModel,
    PrefixCache,
    Prompt,
    Site,
    batch,
    capture,
    intervene,
    read_out,
    record,
    resume,
)
from knowedit.tracing.settings import Part, TraceSettings

SITES: Final[dict[Part, str]] = {"hidden": "block", "mlp": "mlp", "attention": "attention"}


class CleanRun:
    """The run without corruption.

    Args:
        lm: the model as it is now.
        prompt: the text and its subject.
        answer: the tokens whose probability is traced; without any, the one that the model predicts.
        settings: how the trace is made.

    Attributes:
        ids: what every run reads: the prompt and all tokens of the answer but the last.
        predicted: the tokens that the model predicts where those of the answer are.
        probability: of the answer.
        recording: of the one row; its arguments serve the corrupted rows as well.
        values: for each layer the part's value, ``(tokens, width)``.
        spans: the window around each layer.
    """

    def __init__(
        self, lm: LanguageModel, prompt: Prompt, answer: tuple[int, ...], settings: TraceSettings
    ) -> None:
        self.lm, self.prompt, self.settings = lm, prompt, settings
        self.ids = [*prompt.ids, *answer[:-1]]
        self.spans = [settings.window.layers(centre, lm.n_layers) for centre in range(lm.n_layers)]
        sites = [Site(layer, SITES[settings.part]) for layer in range(lm.n_layers)]
        with capture(lm, sites) as found:
            self.recording = record(lm, [self.ids])
        self.values = [found[site][0] for site in sites]
        logits = read_out(lm, self.recording.states[-1][:, prompt.last :])[0]
        self.predicted = tuple(int(token) for token in logits.argmax(dim=-1))
        self.answer = answer or self.predicted
        self.probability = float(_joint_probability(logits, self.answer))

    def probabilities(self, states: Tensor) -> Tensor:
        """The answer's probability ``(rows,)``, float64 on the CPU.

        Args:
            states: after the last block, where the answer's tokens are predicted, ``(rows, tokens, width)``.

        Raises:
            NumericalError: it is NaN: the corruption is so large that the model computes no numbers.
        """
        found = _joint_probability(read_out(self.lm, states), self.answer).cpu()
        if not bool(found.isfinite().all()):
            raise NumericalError(
                f"the probability of the answer is NaN in a corrupted run of {self.lm.name} "
                f"({str(self.lm.dtype).removeprefix('torch.')}): use less noise, or a wider number format"
            )
        return found


class CorruptedRun:
    """The runs without restoring, one row for each draw.

    Args:
        clean: the run without corruption.
        embeddings: in place of the subject's token embeddings, ``(draws, subject tokens, width)``.

    Attributes:
        states: what goes into each block and, last, into the final norm, ``(draws, tokens, width)``.
        cache: the keys and values of all tokens.
        held: for each layer the severed part's value at the last subject token, ``(draws, width)``; empty
            where nothing is severed.
        probabilities: of the answer, ``(draws,)``.
        restored: for each layer the states ``(draws, tokens, width)`` after it when each token alone had its part
            restored.
    """

    def __init__(self, clean: CleanRun, embeddings: Tensor) -> None:
        self.clean = clean
        lm, prompt, sever = clean.lm, clean.prompt, clean.settings.sever

        def corrupt(value: Tensor) -> Tensor:
            value[:, prompt.subject] = embeddings.to(value)
            return value

        inputs = Site(0, "block", "input")
        blocks = [Site(layer, "block") for layer in range(lm.n_layers)]
        severed = [Site(layer, sever) for layer in range(lm.n_layers)] if sever else []
        sites = [inputs, *blocks, *severed]
        with intervene(lm, {Site(None, "embedding"): corrupt}), capture(lm, sites) as found:
            self.cache = PrefixCache.read(lm, batch(lm, [clean.ids] * len(embeddings)))
        self.states = [found[site] for site in (inputs, *blocks)]
        self.held = [found[site][:, prompt.last_subject].clone() for site in severed]
        self.probabilities = clean.probabilities(self.states[-1][:, prompt.last :])
        self.restored = list(self._restored())

    def _restored(self) -> Iterator[Tensor]:
        """One run of a block is enough for all its tokens.

        A token's own attention and MLP output reaches other tokens in the next block at the earliest.
        """
        part, draws = self.clean.settings.part, len(self.probabilities)
        if part == "hidden":
            yield from (values.expand(draws, -1, -1) for values in self.clean.values)
            return
        for layer, values in enumerate(self.clean.values):
            changes = {Site(layer, SITES[part]): lambda value, new=values: new.expand_as(value)}
            column = self.clean.prompt.last_subject
            with intervene(self.clean.lm, changes), self.severed(layer, column, torch.arange(draws)):
                yield resume(self.clean.recording, layer, self.states[layer], stop=layer + 1)

    @contextmanager
    def severed(self, layer: int, column: int, draws: Tensor) -> Iterator[None]:
        """Hold the severed part of a layer at its corrupted values, at one column of rows of these draws."""
        sever = self.clean.settings.sever
        if sever is None or column < 0:
            yield
            return

        def hold(value: Tensor) -> Tensor:
            value[:, column] = self.held[layer][draws.to(value.device)]
            return value

        with intervene(self.clean.lm, {Site(layer, sever): hold}):
            yield


def _joint_probability(logits: Tensor, ids: tuple[int, ...]) -> Tensor:
    """The probability of all tokens together, from logits ``(..., answer tokens, vocabulary)``; float64."""
    index = torch.tensor(ids, device=logits.device).expand(logits.shape[:-1])[..., None]
    return logits.float().log_softmax(dim=-1).gather(-1, index).squeeze(-1).double().sum(dim=-1).exp()
