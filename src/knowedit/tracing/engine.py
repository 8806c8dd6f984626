"""All cells of a trace, from one clean and one corrupted run.

What makes it fast: a restored value at token t in layer l changes nothing before t and nothing below l. So a
cell starts from the corrupted states after block l, holds the tokens from t on alone, and reads those before
from the corrupted run's keys and values. The cells of one token go through the blocks together, each joining
where it begins. Cells in which nothing can change are not run at all.
"""

from __future__ import annotations

from contextlib import ExitStack

import torch
from torch import Tensor

from knowedit.models import Recording, Site, intervene, record, resume
from knowedit.tracing.runs import SITES, CleanRun, CorruptedRun

GLIBC_LEARNS_UP_TO = 2**25 - 2**16
"""Bytes: from the return of larger pieces glibc does not learn how much to keep."""


def measure(clean: CleanRun, embeddings: Tensor, memory: int) -> tuple[Tensor, Tensor]:
    """The corrupted probabilities ``(draws,)`` and the restored ones ``(draws, tokens, layers)``.

    Args:
        clean: the run without corruption.
        embeddings: in place of the subject's token embeddings, ``(draws, subject tokens, width)``.
        memory: bytes that may be used on top of the model.

    Returns:
        Both in float64, on the CPU.
    """
    _keep_freed_memory(clean, memory, len(embeddings))
    groups = torch.split(embeddings, _draws_at_once(clean, memory))
    corrupted, restored = zip(*(_measure(clean, group, memory) for group in groups), strict=True)
    return torch.cat(corrupted), torch.cat(restored)


def _measure(clean: CleanRun, embeddings: Tensor, memory: int) -> tuple[Tensor, Tensor]:
    corrupted, prompt = CorruptedRun(clean, embeddings), clean.prompt
    shape = (len(embeddings), len(prompt.ids), clean.lm.n_layers)
    found = corrupted.probabilities[:, None, None].expand(shape).clone()
    reading = _arguments(corrupted, prompt.last)
    for token in range(prompt.start, len(prompt.ids)):
        layers = _layers_with_effect(clean, token)
        if layers:
            _Cells(corrupted, token, reading).fill(found, layers, _rows_at_once(clean, token, memory))
    return corrupted.probabilities, found


def _layers_with_effect(clean: CleanRun, token: int) -> list[int]:
    """The centres of the cells that can differ from the corrupted run, at a token of the subject or after it.

    What is both severed and restored stays severed.
    """
    if clean.settings.part == clean.settings.sever and token == clean.prompt.last_subject:
        return []
    blocks = _full_blocks(clean, token)
    return [centre for centre, span in enumerate(clean.spans) if span.start < blocks]


def _full_blocks(clean: CleanRun, token: int) -> int:
    """How many blocks count in full at a token: what the last one adds where nothing is predicted, nobody reads."""
    return len(clean.spans) - (token < clean.prompt.last)


def _arguments(corrupted: CorruptedRun, token: int) -> Recording:
    """The arguments for the tokens from ``token`` on, behind a cache of those before."""
    one, clean = corrupted.cache.select(torch.tensor([0])).before(token), corrupted.clean
    return record(clean.lm, [clean.ids], start=token, cache=one, only_arguments=True)


class _Cells:
    """The cells of one token: rows ``(centre, draw)`` that leave the corrupted run where they begin.

    ``reading`` has the arguments of the tokens that predict the answer.
    """

    def __init__(self, corrupted: CorruptedRun, token: int, reading: Recording) -> None:
        self.clean, self.corrupted, self.token, self.reading = corrupted.clean, corrupted, token, reading
        self.arguments = reading if token == self.clean.prompt.last else _arguments(corrupted, token)
        self.cache = corrupted.cache.before(token)

    def fill(self, found: Tensor, layers: list[int], at_once: int) -> None:
        """Write the probabilities ``(draws, tokens, layers)`` of these centres in place, some rows at once."""
        centres = torch.tensor(layers).repeat_interleave(len(found))
        draws = torch.arange(len(found)).repeat(len(layers))
        for some, drawn in zip(torch.split(centres, at_once), torch.split(draws, at_once), strict=True):
            found[drawn, self.token, some] = self.run(some, drawn)

    def run(self, centres: Tensor, draws: Tensor) -> Tensor:
        """The probabilities ``(rows,)`` of cells in the order of their centres."""
        spans = self.clean.spans
        begins, ends = torch.tensor([(spans[c].start, spans[c].stop) for c in centres.tolist()]).T
        states = self._start(int(begins[0]), draws[:0])
        for layer in range(int(begins[0]), _full_blocks(self.clean, self.token)):
            present = int((begins < layer).sum())
            if present:
                # The windows that have not ended yet belong to the last of the rows.
                ended = int((ends[:present] <= layer).sum())
                states = self._block(layer, states, draws[:present], ended)
            joining = draws[present : int((begins <= layer).sum())]
            if len(joining):
                states = torch.cat([states, self._start(layer, joining)])
        if self.token < self.clean.prompt.last:
            states = self._last_block(states, draws)
        return self.clean.probabilities(states)

    def _start(self, layer: int, draws: Tensor) -> Tensor:
        """The states after ``layer``, the first of the rows' windows, from the token on."""
        rows = draws.to(self.corrupted.states[layer + 1].device)
        states = self.corrupted.states[layer + 1][rows, self.token :]
        states[:, 0] = self.corrupted.restored[layer][rows, self.token]
        return states

    def _block(self, layer: int, states: Tensor, draws: Tensor, ended: int) -> Tensor:
        part, clean = self.clean.settings.part, self.clean.values[layer][self.token]
        column = self.clean.prompt.last_subject - self.token

        def restore(value: Tensor) -> Tensor:
            value[ended:, 0] = clean.to(value)
            return value

        with ExitStack() as stack:
            if ended < len(states):
                stack.enter_context(intervene(self.clean.lm, {Site(layer, SITES[part]): restore}))
            # Entered last, so it wins over what is restored.
            stack.enter_context(self.corrupted.severed(layer, column, draws))
            return resume(self.arguments, layer, states, stop=layer + 1, cache=self.cache.select(draws))

    def _last_block(self, states: Tensor, draws: Tensor) -> Tensor:
        """The states after the last block where the answer is predicted; of the others it reads keys and values."""
        prompt, layer = self.clean.prompt, len(self.clean.spans) - 1
        cache = self.cache.select(draws).extended(
            lambda own: resume(self.arguments, layer, states, stop=layer + 1, cache=own)
        )
        with self.corrupted.severed(layer, prompt.last_subject - prompt.last, draws):
            last = states[:, prompt.last - self.token :]
            return resume(self.reading, layer, last, cache=cache.before(prompt.last))


def _draws_at_once(clean: CleanRun, memory: int) -> int:
    """How many draws fit into half the memory: their states, restored states, keys and values."""
    lm = clean.lm
    each = 4 * lm.n_layers * len(clean.ids) * lm.width * lm.dtype.itemsize
    return max(1, memory // 2 // each)


def _rows_at_once(clean: CleanRun, token: int, memory: int) -> int:
    """How many rows fit into the other half."""
    return max(1, memory // 2 // _row_bytes(clean, token))


def _row_bytes(clean: CleanRun, token: int) -> int:
    """What a row takes at the widest moment of a block, or the head's, in float32."""
    lm, tokens = clean.lm, len(clean.ids)
    heads = int(getattr(lm.model.config, "num_attention_heads", 1))
    new = tokens - token
    block = new * (8 * lm.width + 3 * lm.inner_width + 3 * heads * tokens) + 4 * tokens * lm.width
    head = 4 * len(clean.answer) * lm.vocabulary
    return 4 * max(block, head)


def _keep_freed_memory(clean: CleanRun, memory: int, draws: int) -> None:
    """Have the C library keep what blocks free, for the next block.

    By default glibc returns freed memory to the system after each block, and each page is cleared again when the
    next one takes it: 35,500 page faults a trace of 12 tokens and 12 layers with ten draws in ``organism-gpt2``.
    That was 0.13 of 1.02 s of processor time with single states and 0.10 of 1.11 s with windows of MLPs (medians of
    five processes each, interleaved, one thread); with the line below it is 0.002 s and 140 page faults.

    glibc keeps up to twice the size of the largest piece that it returned so far. So one piece as large as a
    block's widest moment is taken here, not touched, and returned.
    """
    token = clean.prompt.start
    rows = min(_rows_at_once(clean, token, memory), draws * len(clean.spans))
    if clean.lm.device.type == "cpu":
        torch.empty(min(GLIBC_LEARNS_UP_TO, rows * _row_bytes(clean, token)), dtype=torch.uint8)
