"""The laws that an `Anatomy` must keep before anything measured through it means something.

A model may have all the named parts and still not add its sublayers to the residual stream, or change
its logits after the head. Such a model has to be refused before an experiment mismeasures.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from knowedit.errors import InputError
from knowedit.models.anatomies.anatomy import take_steps
from knowedit.models.forwards import Batch, batch, pick
from knowedit.models.hooks import Site, capture, intervene
from knowedit.models.language_model import LanguageModel
from knowedit.models.projection import Projection
from knowedit.models.replay.recording import Recording, record
from knowedit.models.replay.replaying import read_out, replay, resume

PROBE_LENGTHS = (8, 5)
ALONE = "law 7 (a row alone, or behind a KV cache = the row in a padded batch, and no token depends on later ones)"


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
    # Law 7 compares kernels of different shapes, whose sums differ by rounding in every block.
    limit = max(1e-4 if law == ALONE else 1e-5, 8 * torch.finfo(lm.dtype).eps)
    if not error <= limit:
        raise InputError(
            f"{law}: fails on {lm.name} with a relative error of {error:.2g} (allowed {limit:.2g}); "
            "this anatomy does not describe the model, or the model is of a kind that is not supported"
        )
    return error


def _probe(lm: LanguageModel) -> Batch:
    longest = lm.max_tokens or max(PROBE_LENGTHS)
    return batch(
        lm,
        [_ids(row, n, lm.vocabulary)[:longest] for row, n in enumerate(PROBE_LENGTHS)],
    )


def _ids(row: int, tokens: int, vocabulary: int) -> list[int]:
    # Fixed ids far apart: no random state is touched.
    return [(7919 * (row + 1) * (i + 1)) % vocabulary for i in range(tokens)]


def probe_ids(model: Any) -> Tensor:
    """Fixed token ids ``(rows, tokens)`` for a model whose anatomy is not known yet; no padding."""
    longest = getattr(model.config, "max_position_embeddings", None) or max(PROBE_LENGTHS)
    vocabulary = len(model.get_input_embeddings().weight)
    rows = range(len(PROBE_LENGTHS))
    return torch.tensor([_ids(row, min(longest, max(PROBE_LENGTHS)), vocabulary) for row in rows])


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
        before, *two = (seen[site].to(block.device) for site in parts)
        return _error(sum((lm.anatomy.residual_scale * value for value in two), before), block)

    return max(added(layer) for layer in range(lm.n_layers))


def _resumed(lm: LanguageModel, data: Batch) -> float:
    full, recording = lm.logits(data), record(lm, data)
    return max(
        _error(replay(recording, layer, recording.states[layer]), full) for layer in range(lm.n_layers + 1)
    )


def _head(lm: LanguageModel, data: Batch) -> float:
    with capture(lm, [Site(None, "head")]) as seen:
        full = lm.logits(data)
    # A soft cap hardly moves small logits, so what is not in the anatomy must not change a single bit.
    if not torch.equal(take_steps(lm.anatomy.after_head, seen[Site(None, "head")]).to(full.device), full):
        return float("inf")
    return _error(read_out(lm, record(lm, data).states[-1]), full)


def _alone(lm: LanguageModel, data: Batch) -> float:
    full = lm.logits(data)
    found = [_row_alone(lm, data, full, row) for row in range(data.rows)]
    recording = record(lm, data, start=data.lengths // 2)
    last = pick(full, data.last)
    again = torch.tensor([data.rows - 1, *range(data.rows)], device=full.device)
    states = recording.states[0].index_select(0, again.to(recording.states[0].device))
    replayed = replay(recording, 0, states, again, recording.batch.last[again])
    return max(*found, _error(recording.logits, last), _error(replayed, last[again.to(last.device)]))


def _row_alone(lm: LanguageModel, data: Batch, full: Tensor, row: int) -> float:
    """The model as its library runs it, on one row and on its beginning, without anything of ours."""
    tokens = int(data.lengths[row])
    return max(
        _error(lm.model(input_ids=data.ids[row : row + 1, :end], use_cache=False).logits[0], full[row, :end])
        for end in (tokens, max(1, tokens - 2))
    )


def _mixing(lm: LanguageModel, data: Batch) -> float:
    """How much a token's MLP output depends on another token when the attention's output is held."""
    recording = record(lm, data)
    found = [_mixed(recording, layer) for layer in range(lm.n_layers)]
    attentive = any(attention > 0 for attention, _ in found) or data.tokens == 1
    return max(mlp for _, mlp in found) if attentive else float("inf")


def _mixed(recording: Recording, layer: int) -> tuple[float, float]:
    """How far attention and MLP of a layer move at later tokens when the first one changes and the other is held."""
    lm, states = recording.lm, recording.states[layer]
    changed = torch.cat([states[:, :1].flip(-1), states[:, 1:]], dim=1)
    sites = Site(layer, "attention"), Site(layer, "mlp")
    with capture(lm, sites) as clean:
        resume(recording, layer, states, stop=layer + 1)

    def moved(site: Site, held: Site) -> float:
        with intervene(lm, {held: lambda _value: clean[held]}), capture(lm, [site]) as seen:
            resume(recording, layer, changed, stop=layer + 1)
        return _error(seen[site][:, 1:], clean[site][:, 1:]) if states.shape[1] > 1 else 0.0

    return moved(*sites), moved(*reversed(sites))


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
    ALONE: _alone,
    "law 8 (the attention reads other tokens, the MLP does not)": _mixing,
}
