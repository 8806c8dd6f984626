"""The laws that an `Anatomy` must keep before anything measured through it means something.

A model may have all the named parts and still not add its sublayers to the residual stream, or change
its logits after the head. Such a model has to be refused before an experiment mismeasures.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from knowedit.errors import InputError
from knowedit.models.forwards import Batch, batch
from knowedit.models.hooks import Site, capture
from knowedit.models.language_model import LanguageModel
from knowedit.models.projection import Projection
from knowedit.models.replay.recording import record
from knowedit.models.replay.replaying import read_out, replay

PROBE_LENGTHS = (8, 5)


def check_anatomy(lm: LanguageModel) -> dict[str, float]:
    """Measure the laws on a short padded batch of fixed token ids.

    Returns:
        For each law the largest difference found, relative to the largest value compared.

    Raises:
        InputError: naming the first law that fails, and by how much.
    """
    lm.anatomy.check(lm.model)
    data = _probe(lm)
    return {law: _measure(law, measure, lm, data) for law, measure in LAWS.items()}


@torch.no_grad()
def _measure(
    law: str, measure: Callable[[LanguageModel, Batch], float], lm: LanguageModel, data: Batch
) -> float:
    try:
        error = measure(lm, data)
    except (RuntimeError, TypeError, KeyError, AttributeError) as problem:
        raise InputError(
            f"{law}: cannot be measured on {lm.name} ({str(problem).splitlines()[0]})"
        ) from problem
    limit = max(1e-5, 8 * torch.finfo(lm.dtype).eps)
    if not error <= limit:
        raise InputError(
            f"{law}: fails on {lm.name} with a relative error of {error:.2g} (allowed {limit:.2g}); "
            "this anatomy does not describe the model, or the model is of a kind that is not supported"
        )
    return error


def _probe(lm: LanguageModel) -> Batch:
    # Fixed ids far apart: no random state is touched.
    longest = lm.max_tokens or max(PROBE_LENGTHS)
    return batch(
        lm,
        [
            [(7919 * (row + 1) * (i + 1)) % lm.vocabulary for i in range(n)][:longest]
            for row, n in enumerate(PROBE_LENGTHS)
        ],
    )


def _error(found: Tensor, expected: Tensor) -> float:
    found = found.to(expected.device)  # the parts of one model may be on several devices
    scale = expected.abs().max().clamp_min(torch.finfo(torch.float32).tiny)
    return float(((found - expected).abs().max() / scale).float())


def _addresses(lm: LanguageModel) -> list[tuple[int, str]]:
    return [(layer, part) for layer in range(lm.n_layers) for part in lm.anatomy.projection_parts]


def _projections(lm: LanguageModel, data: Batch) -> float:
    sites = [(Site(*place, "input"), Site(*place)) for place in _addresses(lm)]
    with capture(lm, [site for pair in sites for site in pair]) as seen:
        lm.logits(data)
    return max(
        _error(lm.projection(*place).apply(seen[before]), seen[after])
        for place, (before, after) in zip(_addresses(lm), sites, strict=True)
    )


def _residual(lm: LanguageModel, data: Batch) -> float:
    sites = [Site(layer, part) for layer in range(lm.n_layers) for part in ("attention", "mlp", "block")]
    inputs = [Site(layer, "block", "input") for layer in range(lm.n_layers)]
    with capture(lm, sites + inputs) as seen:
        lm.logits(data)

    def added(layer: int) -> float:
        block = seen[Site(layer, "block")]
        parts = (Site(layer, "block", "input"), Site(layer, "attention"), Site(layer, "mlp"))
        return _error(sum((seen[site].to(block.device) for site in parts), torch.zeros_like(block)), block)

    return max(added(layer) for layer in range(lm.n_layers))


def _resumed(lm: LanguageModel, data: Batch) -> float:
    full, recording = lm.logits(data), record(lm, data)
    return max(
        _error(replay(recording, layer, recording.states[layer]), full) for layer in range(lm.n_layers + 1)
    )


def _head(lm: LanguageModel, data: Batch) -> float:
    with capture(lm, [Site(None, "head")]) as seen:
        full = lm.logits(data)
    # A soft cap hardly moves small logits, so what follows the head must not change a single bit.
    if not torch.equal(seen[Site(None, "head")].to(full.device), full):
        return float("inf")
    return _error(read_out(lm, record(lm, data).states[-1]), full)


def _reverted(lm: LanguageModel, data: Batch) -> float:
    before = lm.logits(data)
    used = max(_swapped_and_back(lm.projection(*place)) for place in _addresses(lm))
    return used if torch.equal(lm.logits(data), before) else float("inf")


def _swapped_and_back(projection: Projection) -> float:
    """How far the module is from computing with the weight that was put in."""
    parameter, original = projection.parameter, projection.parameter.data
    old = projection.weight.detach()
    x = torch.linspace(-1, 1, 3 * projection.d_in, dtype=old.dtype, device=old.device)
    x = x.reshape(1, 3, projection.d_in)
    parameter.data = projection.to_storage(old.flip(0) + old).contiguous()
    try:
        return _error(projection.module(x), projection.apply(x))
    finally:
        parameter.data = original


LAWS: dict[str, Callable[[LanguageModel, Batch], float]] = {
    "law 2 (a projection reproduces its module, bias included)": _projections,
    "law 3 (block output - input = attention + MLP)": _residual,
    "law 4 (resuming from any block = the full run)": _resumed,
    "law 5 (head(norm(state)) = logits)": _head,
    "law 6 (a swapped weight is used, and putting the old one back restores every bit)": _reverted,
}
