"""The second moment C = E[k kᵀ] of a projection's inputs over text (Section 4, Appendix D.5), and its files."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch

from knowedit.bundled import statistics_text
from knowedit.editing.statistics.corpus import Position, text_file
from knowedit.editing.statistics.key_sums import KeySums, Reading
from knowedit.errors import BaseMismatchError, InputError
from knowedit.linalg import SecondMoment
from knowedit.models import LanguageModel, fingerprint

MLP_DOWN = "mlp_down"
BATCH_TEXTS = 16
"""Texts of a forward where statistics are gathered without being asked for; it decides the last digits."""


def collect_second_moments(
    lm: LanguageModel,
    texts: Iterable[str],
    layers: Sequence[int],
    *,
    part: str = MLP_DOWN,
    reading: Reading | None = None,
) -> dict[int, SecondMoment]:
    """Stream texts through the model and gather E[k kᵀ] of a projection's inputs, all layers in one pass.

    Args:
        lm: the unedited model.
        texts: any number of texts, cut at the model's positions unless ``reading`` says otherwise.
        layers: whose projection; the pass ends at the last of them.
        part: which projection's inputs.
        reading: limits, contexts and batches.

    Returns:
        For each layer the moment ``(d_in, d_in)`` over every token of every text.

    Raises:
        InputError: no such layer or part, no layer, or no text with a token.
        NumericalError: a key that is NaN or infinite.
    """
    for layer in layers:
        lm.projection(lm.check_layer(layer), part)
    settled = (reading or Reading()).resolved(lm)
    if isinstance(texts, str):
        raise InputError("a single text was given where a list of texts belongs: write [text]")
    sums = KeySums(lm, layers, part)
    for batches, end in settled.chunks(lm, iter(texts), Position()):
        sums.add(batches, end)
    if not sums.position.tokens:
        raise InputError("there is no text to gather key statistics from: give at least one with a token")
    return {layer: sums.moment(layer) for layer in layers}


def moment_path(folder: Path, layer: int, part: str = MLP_DOWN) -> Path:
    """Where a folder keeps the moment of a layer."""
    return folder / f"second_moment_{layer}{'' if part == MLP_DOWN else f'_{part}'}.safetensors"


def save_second_moment(
    lm: LanguageModel,
    layer: int,
    moment: SecondMoment,
    *,
    part: str = MLP_DOWN,
    folder: Path | None = None,
    digest: str | None = None,
    about: Mapping[str, str] | None = None,
    force: bool = False,
) -> Path:
    """Keep a moment in a folder, with what it belongs to.

    Args:
        lm: the model that it was gathered on.
        layer: its layer.
        moment: the moment.
        part: the projection whose inputs it is of.
        folder: by default the model's, where `second_moment` finds it.
        digest: of all the model's weights, where it is known already.
        about: more to keep with it.
        force: replace a file that is there.

    Returns:
        The file.

    Raises:
        InputError: the model has no folder, or a file that is there.
    """
    folder = folder or lm.folder
    if folder is None:
        raise InputError(
            f"{lm.name} has no folder: save the moment with SecondMoment.save and pass statistics="
        )
    path = moment_path(folder, layer, part)
    entries = _entries(digest or fingerprint(lm, with_edits=True).digest, layer, part)
    moment.save(path, metadata={**(about or {}), **entries}, force=force)
    return path


def load_second_moment(
    path: str | os.PathLike[str], lm: LanguageModel, layer: int, part: str = MLP_DOWN
) -> SecondMoment:
    """Read a moment file that was made for this layer of this model.

    The ``.npz`` files of the released ROME code say nothing of their model; of these only the size is compared.

    Args:
        path: from ``knowedit stats``, `save_second_moment`, or the released code (`SecondMoment.from_npz`).
        lm: the model, with the weights that the moment was gathered on.
        layer: the layer to be edited.
        part: the projection to be edited.

    Raises:
        BaseMismatchError: it belongs to another model, layer or part; names what differs.
        InputError: no such file or layer, or a file of ours that does not say what it belongs to.
        FileFormatError: truncated, altered, or of another kind.
    """
    like = torch.empty(0, device=lm.device)
    width = lm.projection(lm.check_layer(layer), part).d_in
    if zipfile.is_zipfile(path):
        return _fitting(path, SecondMoment.from_npz(path, like=like), width)
    moment, entries = SecondMoment.load_with_metadata(path, like=like)
    if not {"model", "layer"} <= entries.keys():
        raise InputError(
            f"{path} does not say which model and layer it was gathered on, so it cannot be checked: gather it "
            "with knowedit stats, or read it with SecondMoment.load if you know that it fits"
        )
    differing = _differences(entries, _entries(fingerprint(lm).digest, layer, part))
    if differing:
        raise BaseMismatchError(
            f"{path} does not belong to {part} in layer {layer} of {lm.name}: {'; '.join(differing)}; gather "
            "the statistics of this model, with its weights and number format as they are now"
        )
    return _fitting(path, moment, width)


def _fitting(path: str | os.PathLike[str], moment: SecondMoment, width: int) -> SecondMoment:
    if moment.dim != width:
        raise BaseMismatchError(
            f"{path} is of keys of length {moment.dim}, the layer to be edited has keys of length {width}: give the "
            "statistics of this model"
        )
    return moment


def second_moment(lm: LanguageModel, layer: int) -> SecondMoment:
    """The moment for a layer from the model's folder: stored, or gathered from the texts kept there.

    A stored moment of other weights (another number format, say) is not used. While edits are applied a stored
    moment is that of the model without them, as for every edit in a row; none is gathered then, since the
    texts would run through the edited model.

    Raises:
        InputError: the folder has neither, or edits are applied and it has no moment.
    """
    lm.check_layer(layer)
    path = moment_path(lm.folder, layer) if lm.folder else None
    if path is not None and path.is_file():
        moment, entries = SecondMoment.load_with_metadata(path, like=torch.empty(0, device=lm.device))
        if entries.get("model") == fingerprint(lm).digest:
            return moment
    texts = statistics_text(lm.folder)
    if texts is None:
        raise InputError(
            f"no key statistics are known for layer {layer} of {lm.name} as its weights are now: gather them with "
            "knowedit stats, or knowedit.editing.collect_second_moments(lm, texts, [layer]), and pass statistics="
        )
    if fingerprint(lm, with_edits=True) != fingerprint(lm):
        raise InputError(
            f"{lm.name} keeps no key statistics of layer {layer}, and with edits applied it cannot gather those of its "
            "own weights: call second_moment before applying the edits and pass statistics="
        )
    found = text_file(texts).read()
    return collect_second_moments(lm, found, [layer], reading=Reading(batch_texts=BATCH_TEXTS))[layer]


def _entries(digest: str, layer: int, part: str) -> dict[str, str]:
    return {"model": digest, "layer": str(layer), "part": part}


def _differences(found: Mapping[str, str], expected: Mapping[str, str]) -> list[str]:
    there = {"part": MLP_DOWN, **found}
    return [
        f"its {name} is {_short(there[name])}, expected {_short(value)}"
        for name, value in expected.items()
        if there[name] != value
    ]


def _short(value: str) -> str:
    return f"{value[:12]}…" if len(value) == 64 else value
