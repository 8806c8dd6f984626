"""All cells of a trace, from one clean and one corrupted run.

What makes it fast: a restored value at token t in layer l changes nothing before t and nothing below l. So a
cell starts from the corrupted states after block l, holds the tokens from t on alone, and reads those before
from the corrupted run's keys and values. The cells of one token go through the blocks together, each joining
where it begins. Cells in which nothing can change are not run at all.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from knowedit.models import (
    LanguageModel,
    PrefixCache,
    Prompt,
    Recording,
    Site,
    batch,
    capture,
    intervene,
    read_out,
    record,
    resume,
)
from knowedit.tracing.reading import joint_probability
from knowedit.tracing.trace import Part, Severed
from knowedit.tracing.windows import Window

GLIBC_HEEDS = 2**25 - 2**16
"""Bytes: the size of a piece from which on glibc learns nothing."""

SITES = {"hidden": "block", "mlp": "mlp", "attention": "attention"}


@dataclass(frozen=True, eq=False)
class Plan:
    """What is to be measured; see `causal_trace` for the fields."""

    lm: LanguageModel
    prompt: Prompt
    answer: tuple[int, ...]
    part: Part
    window: Window
    sever: Severed | None
    memory: int

    @property
    def ids(self) -> list[int]:
        """What every run reads: the prompt and all tokens of the answer but the last."""
        return [*self.prompt.ids, *self.answer[:-1]]

    @cached_property
    def spans(self) -> list[range]:
        """The window around each layer."""
        n_layers = self.lm.n_layers
        return [self.window.layers(centre, n_layers) for centre in range(n_layers)]


@dataclass(frozen=True, eq=False)
class CleanRun:
    """The run without corruption.

    Attributes:
        recording: of the one row; its arguments serve the corrupted rows as well.
        values: for each layer the part's value ``(tokens, width)``.
        logits: ``(answer tokens, vocabulary)``, where the answer's tokens are predicted.
    """

    recording: Recording
    values: list[Tensor]
    logits: Tensor


@dataclass(frozen=True, eq=False)
class CorruptedRun:
    """The runs without restoring, one row for each draw.

    Attributes:
        states: what goes into each block and, last, into the final norm, ``(draws, tokens, width)``.
        cache: the keys and values of all tokens.
        held: for each layer the severed part's value at the last subject token, ``(draws, width)``; empty
            where nothing is severed.
        scores: ``(draws,)``.
    """

    states: list[Tensor]
    cache: PrefixCache
    held: list[Tensor]
    scores: Tensor


def clean_run(lm: LanguageModel, prompt: Prompt, answer: tuple[int, ...], part: Part) -> CleanRun:
    """Run the model as it is on the prompt and all answer tokens but the last."""
    sites = [Site(layer, SITES[part]) for layer in range(lm.n_layers)]
    with capture(lm, sites) as found:
        recording = record(lm, [[*prompt.ids, *answer[:-1]]])
    logits = read_out(lm, recording.states[-1][:, prompt.last :])[0]
    return CleanRun(recording, [found[site][0] for site in sites], logits)


def measure(plan: Plan, clean: CleanRun, embeddings: Tensor) -> tuple[Tensor, Tensor]:
    """The corrupted scores ``(draws,)`` and the restored ones ``(draws, tokens, layers)``, float64, on the CPU."""
    _keep_freed_memory(plan, len(embeddings))
    parts = [_measure(plan, clean, rows) for rows in torch.split(embeddings, _draws_at_once(plan))]
    return torch.cat([baseline for baseline, _ in parts]), torch.cat([scores for _, scores in parts])


def _measure(plan: Plan, clean: CleanRun, embeddings: Tensor) -> tuple[Tensor, Tensor]:
    corrupted = _corrupted_run(plan, embeddings)
    restored = _restored_states(plan, clean, corrupted)
    shape = (len(embeddings), len(plan.prompt.ids), plan.lm.n_layers)
    scores = corrupted.scores[:, None, None].expand(shape).clone()
    reading = _arguments(plan, corrupted, plan.prompt.last)
    for token in range(plan.prompt.start, len(plan.prompt.ids)):
        layers = _layers_with_effect(plan, token)
        if layers:
            fork = _Fork(plan, clean, corrupted, restored, token, reading)
            fork.fill(scores, layers)
    return corrupted.scores, scores


def _layers_with_effect(plan: Plan, token: int) -> list[int]:
    """The centres of the cells that can differ from the corrupted run, at a token of the subject or after it.

    What is both severed and restored stays severed.
    """
    if plan.part == plan.sever and token == plan.prompt.last_subject:
        return []
    blocks = _full_blocks(plan, token)
    return [centre for centre, span in enumerate(plan.spans) if span.start < blocks]


def _full_blocks(plan: Plan, token: int) -> int:
    """How many blocks count in full at a token: what the last one adds where nothing is predicted, nobody reads."""
    return len(plan.spans) - (token < plan.prompt.last)


def _corrupted_run(plan: Plan, embeddings: Tensor) -> CorruptedRun:
    lm, subject = plan.lm, plan.prompt.subject

    def corrupt(value: Tensor) -> Tensor:
        value[:, subject] = embeddings.to(value)
        return value

    inputs = Site(0, "block", "input")
    blocks = [Site(layer, "block") for layer in range(lm.n_layers)]
    severed = [Site(layer, plan.sever) for layer in range(lm.n_layers)] if plan.sever else []
    with intervene(lm, {Site(None, "embedding"): corrupt}), capture(lm, [inputs, *blocks, *severed]) as found:
        cache = PrefixCache.read(lm, batch(lm, [plan.ids] * len(embeddings)))
    states = [found[site] for site in (inputs, *blocks)]
    scores = joint_probability(read_out(lm, states[-1][:, plan.prompt.last :]), plan.answer).cpu()
    held = [found[site][:, plan.prompt.last_subject].clone() for site in severed]
    return CorruptedRun(states, cache, held, scores)


def _restored_states(plan: Plan, clean: CleanRun, corrupted: CorruptedRun) -> list[Tensor]:
    """For each layer the states ``(draws, tokens, width)`` after it when each token alone had its part restored.

    One run of a block gives this for all its tokens: a token's own attention and MLP output reaches other
    tokens in the next block at the earliest.
    """
    lm, draws = plan.lm, len(corrupted.scores)
    if plan.part == "hidden":
        return [values.expand(draws, -1, -1) for values in clean.values]
    everywhere = torch.arange(draws)
    found = []
    for layer, values in enumerate(clean.values):
        changes = {Site(layer, SITES[plan.part]): lambda value, new=values: new.expand_as(value)}
        with intervene(lm, changes), _severed(plan, corrupted, layer, plan.prompt.last_subject, everywhere):
            found.append(resume(clean.recording, layer, corrupted.states[layer], stop=layer + 1))
    return found


@contextmanager
def _severed(plan: Plan, corrupted: CorruptedRun, layer: int, column: int, draws: Tensor) -> Iterator[None]:
    """Hold the severed part of a layer at its corrupted values, at one column of rows of these draws."""
    if plan.sever is None or column < 0:
        yield
        return

    def hold(value: Tensor) -> Tensor:
        value[:, column] = corrupted.held[layer][draws.to(value.device)]
        return value

    with intervene(plan.lm, {Site(layer, plan.sever): hold}):
        yield


def _arguments(plan: Plan, corrupted: CorruptedRun, token: int) -> Recording:
    """The arguments for the tokens from ``token`` on, behind a cache of those before."""
    one = corrupted.cache.select(torch.tensor([0])).before(token)
    return record(plan.lm, [plan.ids], start=token, cache=one, only_arguments=True)


class _Fork:
    """The cells of one token: rows ``(centre, draw)`` that leave the corrupted run where they begin.

    ``reading`` has the arguments of the tokens that predict the answer.
    """

    def __init__(
        self,
        plan: Plan,
        clean: CleanRun,
        corrupted: CorruptedRun,
        restored: list[Tensor],
        token: int,
        reading: Recording,
    ) -> None:
        self.plan, self.clean, self.corrupted = plan, clean, corrupted
        self.restored, self.token, self.reading = restored, token, reading
        self.arguments = reading if token == plan.prompt.last else _arguments(plan, corrupted, token)
        self.cache = corrupted.cache.before(token)

    def fill(self, scores: Tensor, layers: list[int]) -> None:
        """Write the scores ``(draws, tokens, layers)`` of these centres, in place."""
        centres = torch.tensor(layers).repeat_interleave(len(scores))
        draws = torch.arange(len(scores)).repeat(len(layers))
        at_once = _rows_at_once(self.plan, self.token)
        for some, drawn in zip(torch.split(centres, at_once), torch.split(draws, at_once), strict=True):
            scores[drawn, self.token, some] = self.run(some, drawn)

    def run(self, centres: Tensor, draws: Tensor) -> Tensor:
        """The scores ``(rows,)`` of cells in the order of their centres."""
        lm, spans = self.plan.lm, self.plan.spans
        begins, ends = torch.tensor([(spans[c].start, spans[c].stop) for c in centres.tolist()]).T
        states = self._start(int(begins[0]), draws[:0])
        for layer in range(int(begins[0]), _full_blocks(self.plan, self.token)):
            present = int((begins < layer).sum())
            if present:
                # The windows that have not ended yet belong to the last of the rows.
                ended = int((ends[:present] <= layer).sum())
                states = self._block(layer, states, draws[:present], ended)
            joining = draws[present : int((begins <= layer).sum())]
            if len(joining):
                states = torch.cat([states, self._start(layer, joining)])
        if self.token < self.plan.prompt.last:
            states = self._last_block(states, draws)
        return joint_probability(read_out(lm, states), self.plan.answer).cpu()

    def _start(self, layer: int, draws: Tensor) -> Tensor:
        """The states after ``layer``, the first of the rows' windows, from the token on."""
        rows = draws.to(self.corrupted.states[layer + 1].device)
        states = self.corrupted.states[layer + 1][rows, self.token :]
        states[:, 0] = self.restored[layer][rows, self.token]
        return states

    def _block(self, layer: int, states: Tensor, draws: Tensor, ended: int) -> Tensor:
        part, clean = self.plan.part, self.clean.values[layer][self.token]
        column = self.plan.prompt.last_subject - self.token

        def restore(value: Tensor) -> Tensor:
            value[ended:, 0] = clean.to(value)
            return value

        with ExitStack() as stack:
            if ended < len(states):
                stack.enter_context(intervene(self.plan.lm, {Site(layer, SITES[part]): restore}))
            # Entered last, so it wins over what is restored.
            stack.enter_context(_severed(self.plan, self.corrupted, layer, column, draws))
            return resume(self.arguments, layer, states, stop=layer + 1, cache=self.cache.select(draws))

    def _last_block(self, states: Tensor, draws: Tensor) -> Tensor:
        """The states after the last block where the answer is predicted; of the others it reads keys and values."""
        last, layer = self.plan.prompt.last, len(self.plan.spans) - 1
        cache = self.cache.select(draws).extended(
            lambda own: resume(self.arguments, layer, states, stop=layer + 1, cache=own)
        )
        with _severed(self.plan, self.corrupted, layer, self.plan.prompt.last_subject - last, draws):
            return resume(self.reading, layer, states[:, last - self.token :], cache=cache.before(last))


def _draws_at_once(plan: Plan) -> int:
    """How many draws fit into half the memory: their states, restored states, keys and values."""
    lm = plan.lm
    each = 4 * lm.n_layers * len(plan.ids) * lm.width * lm.dtype.itemsize
    return max(1, plan.memory // 2 // each)


def _rows_at_once(plan: Plan, token: int) -> int:
    """How many rows fit into the other half."""
    return max(1, plan.memory // 2 // _row_bytes(plan, token))


def _row_bytes(plan: Plan, token: int) -> int:
    """What a row takes at the widest moment of a block, or the head's, in float32."""
    lm, tokens = plan.lm, len(plan.ids)
    heads = int(getattr(lm.model.config, "num_attention_heads", 1))
    new = tokens - token
    block = new * (8 * lm.width + 3 * lm.inner_width + 3 * heads * tokens) + 4 * tokens * lm.width
    head = 4 * len(plan.answer) * lm.vocabulary
    return 4 * max(block, head)


def _keep_freed_memory(plan: Plan, draws: int) -> None:
    """Have the C library keep what blocks free, for the next block.

    By default glibc returns freed memory to the system after each block, and each page is cleared again when the
    next one takes it: a sixth of a trace's time. It keeps up to twice the size of the largest piece that it
    returned so far. So one piece as large as a block's widest moment is taken here, not touched, and returned.
    """
    token = plan.prompt.start
    rows = min(_rows_at_once(plan, token), draws * len(plan.spans))
    if plan.lm.device.type == "cpu":
        torch.empty(min(GLIBC_HEEDS, rows * _row_bytes(plan, token)), dtype=torch.uint8)
