"""The one loop that all searches share: Adam on some tensors until the loss is low enough."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from knowedit.errors import NumericalError
from knowedit.models import LanguageModel

T = TypeVar("T")


def descend(
    lm: LanguageModel,
    deltas: Sequence[Tensor],
    loss_of: Callable[[], tuple[Tensor, T]],
    *,
    of: str,
    learning_rate: float,
    max_steps: int,
    stop_loss: float,
    weight_decay: float = 0.0,
    bounded: Callable[[], None] = lambda: None,
) -> tuple[tuple[float, ...], T]:
    """Minimise a loss over tensors, in place. Nothing is random and the model is not changed.

    Args:
        lm: the model that the loss asks, whose own parameters get no gradients.
        deltas: what is optimised, float32 or float64, requiring gradients.
        loss_of: the loss of the tensors as they are, a scalar, and what else is known then.
        of: what an error calls the loss.
        learning_rate: of Adam.
        max_steps: updates at most.
        stop_loss: stop once the loss is at most this.
        weight_decay: Adam's L2 on the tensors.
        bounded: brings the tensors back within their bounds, called after each update.

    Returns:
        The loss before each update and, last, where it stopped; and what else was known there.

    Raises:
        NumericalError: the loss is not finite.
    """
    adam = torch.optim.Adam(deltas, lr=learning_rate, weight_decay=weight_decay)
    losses: list[float] = []
    with lm.frozen(), torch.enable_grad():
        while True:
            loss, known = loss_of()
            losses.append(float(loss.detach()))
            if not abs(losses[-1]) < float("inf"):
                raise NumericalError(
                    f"the loss of {of} is {losses[-1]} after {len(losses) - 1} steps: "
                    "lower the learning rate or use float32"
                )
            if losses[-1] <= stop_loss or len(losses) > max_steps:
                return tuple(losses), known
            for delta, gradient in zip(deltas, torch.autograd.grad(loss, deltas), strict=True):
                delta.grad = gradient
            adam.step()
            with torch.no_grad():
                bounded()
