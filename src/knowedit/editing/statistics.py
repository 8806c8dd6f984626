"""The second moment C = E[k kᵀ] of a projection's inputs over text (Section 4, Appendix D.5)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice

import torch

from knowedit.errors import InputError
from knowedit.linalg import SecondMoment
from knowedit.models import LanguageModel, Site, batch, capture, encode, fingerprint
from knowedit.registry import notes

MODEL_ENTRY = "model"
LAYER_ENTRY = "layer"


def moment_file(layer: int) -> str:
    """The name under which a model's folder keeps the moment of a layer."""
    return f"second_moment_{layer}.safetensors"


@torch.no_grad()
def collect_second_moment(
    lm: LanguageModel, texts: Iterable[str], layer: int, *, batch_size: int = 16
) -> SecondMoment:
    """Stream texts through the model and gather E[k kᵀ] of the inputs of ``mlp_down``.

    Args:
        lm: the unedited model.
        texts: any number of texts, cut at the model's positions.
        layer: whose MLP.
        batch_size: texts per forward; changes nothing but memory and time.

    Returns:
        The moment ``(d_in, d_in)`` over every token of every text.

    Raises:
        InputError: no such layer, or no text with a token.
    """
    lm.check_layer(layer)
    site = Site(layer, "mlp_down", "input")
    moment: SecondMoment | None = None
    for ids in _batches(lm, texts, batch_size):
        data = batch(lm, ids)
        with capture(lm, [site]) as found:
            lm.logits(data, data.last)
        keys = found[site][data.mask.bool()].double()
        moment = (SecondMoment.zeros(keys.shape[1], like=keys) if moment is None else moment).update(keys)
    if moment is None:
        raise InputError("there is no text to gather key statistics from: give at least one with a token")
    return moment


def _batches(lm: LanguageModel, texts: Iterable[str], size: int) -> Iterable[Sequence[list[int]]]:
    rows = (ids[: lm.max_tokens] for text in texts if (ids := encode(lm.tokenizer, text)))
    while chunk := list(islice(rows, size)):
        yield chunk


def save_second_moment(lm: LanguageModel, layer: int, moment: SecondMoment) -> None:
    """Keep a moment in the model's folder, where `second_moment` finds it.

    Raises:
        InputError: the model has no folder.
    """
    if lm.folder is None:
        raise InputError(
            f"{lm.name} has no folder: save the moment with SecondMoment.save and pass statistics="
        )
    entries = {MODEL_ENTRY: fingerprint(lm).digest, LAYER_ENTRY: str(layer)}
    moment.save(lm.folder / moment_file(layer), metadata=entries)


def second_moment(lm: LanguageModel, layer: int) -> SecondMoment:
    """The moment for a layer from the model's folder: stored, or gathered from the texts kept there.

    A stored moment of other weights (another number format, or an edit applied) is not used.

    Raises:
        InputError: the folder has neither; says how to gather one.
    """
    lm.check_layer(layer)
    path = lm.folder / moment_file(layer) if lm.folder else None
    if path is not None and path.is_file():
        moment, entries = SecondMoment.load_with_metadata(path, like=torch.empty(0, device=lm.device))
        if entries.get(MODEL_ENTRY) == fingerprint(lm).digest:
            return moment
    texts = notes(lm.folder).get("statistics_text")
    if lm.folder is None or texts is None:
        raise InputError(
            f"no key statistics are known for layer {layer} of {lm.name} as its weights are now: gather them with "
            "knowedit.editing.collect_second_moment(lm, texts, layer) and pass statistics="
        )
    lines = (lm.folder / str(texts)).read_text(encoding="utf-8").splitlines()
    return collect_second_moment(lm, lines, layer)
