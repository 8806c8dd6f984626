"""Replay a recording with other weights in one block; the model keeps its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch.func import functional_call

from knowedit.models.hooks import first
from knowedit.models.recording import read_out, resume

if TYPE_CHECKING:
    from knowedit.models.recording import Recording


def replay_with(
    recording: Recording,
    layer: int,
    tensors: Mapping[str, Tensor],
    positions: Tensor | int | None = None,
) -> Tensor:
    """Logits of the recorded rows when a block computes with other tensors.

    What goes into the block does not depend on them, so the blocks before it do not run again.
    ``replay_with(recording, l, {})`` is the recorded run. Gradients flow to the tensors.

    Args:
        recording: from `record`.
        layer: whose block.
        tensors: the new ones by their names from the block, as it stores them: ``mlp.c_proj.weight``.
        positions: where logits are wanted, see `replay`.

    Raises:
        InputError: no such layer; positions that do not fit.
    """
    recording.lm.check_layer(layer)
    args, kwargs = recording.calls[layer]
    block = recording.lm.blocks[layer]
    given: tuple[Any, ...] = (recording.states[layer], *args)
    out = first(functional_call(block, dict(tensors), given, kwargs, strict=False))
    return read_out(recording.lm, resume(recording, layer + 1, out), positions)
