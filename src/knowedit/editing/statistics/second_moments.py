"""The second moment C = E[k kᵀ] of a projection's inputs over text (Section 4, Appendix D.5)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch

from knowedit.bundled import notes
from knowedit.editing.statistics.corpus import text_file
from knowedit.editing.statistics.files import MLP_DOWN, MODEL_ENTRY, moment_entries, moment_file
from knowedit.editing.statistics.key_sums import KeySums
from knowedit.editing.statistics.text_chunks import Position, Reading, chunks
from knowedit.errors import InputError
from knowedit.linalg import SecondMoment
from knowedit.models import LanguageModel, fingerprint


def collect_second_moment(
    lm: LanguageModel, texts: Iterable[str], layer: int, *, batch_size: int = 16
) -> SecondMoment:
    """Stream texts through the model and gather E[k kᵀ] of the inputs of ``mlp_down``.

    Args:
        lm: the unedited model.
        texts: any number of texts, cut at the model's positions.
        layer: whose MLP.
        batch_size: texts per forward at most; changes nothing but memory, time and rounding.

    Returns:
        The moment ``(d_in, d_in)`` over every token of every text.

    Raises:
        InputError: no such layer, or no text with a token.
        NumericalError: a key that is NaN or infinite.
    """
    return collect_second_moments(lm, texts, [layer], reading=Reading(batch_texts=batch_size))[layer]


def collect_second_moments(
    lm: LanguageModel,
    texts: Iterable[str],
    layers: Sequence[int],
    *,
    part: str = MLP_DOWN,
    reading: Reading | None = None,
) -> dict[int, SecondMoment]:
    """`collect_second_moment` for several layers in one pass, which ends at the last of them.

    Args:
        lm: the unedited model.
        texts: any number of texts.
        layers: whose projection.
        part: which projection's inputs.
        reading: limits, windows and batches.

    Raises:
        InputError: no such layer or part, no layer, or no text with a token.
        NumericalError: a key that is NaN or infinite.
    """
    for layer in layers:
        lm.projection(lm.check_layer(layer), part)
    settled = (reading or Reading()).resolved(lm)
    sums = KeySums(lm, layers, part, settled)
    for chunk in chunks(lm, _iterator(texts), settled, Position()):
        sums.add(chunk)
    if not sums.position.tokens:
        raise InputError("there is no text to gather key statistics from: give at least one with a token")
    return {layer: sums.moment(layer) for layer in layers}


def _iterator(texts: Iterable[str]) -> Iterator[str]:
    if isinstance(texts, str):
        raise InputError("a single text was given where a list of texts belongs: write [text]")
    return iter(texts)


def save_second_moment(lm: LanguageModel, layer: int, moment: SecondMoment, *, part: str = MLP_DOWN) -> None:
    """Keep a moment in the model's folder, where `second_moment` finds it.

    Raises:
        InputError: the model has no folder.
    """
    if lm.folder is None:
        raise InputError(
            f"{lm.name} has no folder: save the moment with SecondMoment.save and pass statistics="
        )
    entries = moment_entries(fingerprint(lm, with_edits=True).digest, layer, part)
    moment.save(lm.folder / moment_file(layer, part), metadata=entries)


def second_moment(lm: LanguageModel, layer: int) -> SecondMoment:
    """The moment for a layer from the model's folder: stored, or gathered from the texts kept there.

    A stored moment of other weights (another number format, say) is not used. While edits are applied a stored
    moment is that of the model without them, as for every edit in a row; none is gathered then, since the
    texts would run through the edited model.

    Raises:
        InputError: the folder has neither, or edits are applied and it has no moment; says what to do.
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
            "knowedit stats, or knowedit.editing.collect_second_moment(lm, texts, layer), and pass statistics="
        )
    if fingerprint(lm, with_edits=True) != fingerprint(lm):
        raise InputError(
            f"{lm.name} keeps no key statistics of layer {layer}, and with edits applied it cannot gather those of its "
            "own weights: call second_moment before applying the edits and pass statistics="
        )
    return collect_second_moment(lm, text_file(lm.folder / str(texts)).read(), layer)
