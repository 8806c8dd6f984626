"""The files of second moments: what they are called, and which model, layer and part they belong to."""

from __future__ import annotations

import os
from collections.abc import Mapping

import torch

from knowedit.errors import BaseMismatchError, InputError
from knowedit.linalg import SecondMoment
from knowedit.models import LanguageModel, fingerprint

MODEL_ENTRY = "model"
LAYER_ENTRY = "layer"
PART_ENTRY = "part"
MLP_DOWN = "mlp_down"


def moment_file(layer: int, part: str = MLP_DOWN) -> str:
    """The name under which a folder keeps the moment of a layer."""
    return f"second_moment_{layer}{'' if part == MLP_DOWN else f'_{part}'}.safetensors"


def moment_entries(digest: str, layer: int, part: str) -> dict[str, str]:
    """The metadata that says where a moment belongs; ``digest`` is that of all the model's weights."""
    return {MODEL_ENTRY: digest, LAYER_ENTRY: str(layer), PART_ENTRY: part}


def load_second_moment(
    path: str | os.PathLike[str], lm: LanguageModel, layer: int, part: str = MLP_DOWN
) -> SecondMoment:
    """Read a moment file that was made for this layer of this model.

    Args:
        path: from ``knowedit stats``, or `save_second_moment`.
        lm: the model, with the weights that the moment was gathered on.
        layer: the layer to be edited.
        part: the projection to be edited.

    Raises:
        BaseMismatchError: it belongs to another model, layer or part; says what differs.
        InputError: no such file or layer, or a file that does not say what it belongs to.
        FileFormatError: truncated, altered, or of another kind.
    """
    lm.projection(lm.check_layer(layer), part)
    moment, entries = SecondMoment.load_with_metadata(path, like=torch.empty(0, device=lm.device))
    if MODEL_ENTRY not in entries or LAYER_ENTRY not in entries:
        raise InputError(
            f"{path} does not say which model and layer it was gathered on, so it cannot be checked: gather it "
            "with knowedit stats, or read it with SecondMoment.load if you know that it fits"
        )
    differing = _differences(entries, moment_entries(fingerprint(lm).digest, layer, part))
    if differing:
        raise BaseMismatchError(
            f"{path} does not belong to {part} in layer {layer} of {lm.name}: {'; '.join(differing)}; gather "
            "the statistics of this model, with its weights and number format as they are now"
        )
    return moment


def _differences(found: Mapping[str, str], expected: Mapping[str, str]) -> list[str]:
    there = {PART_ENTRY: MLP_DOWN, **found}
    return [
        f"its {name} is {_short(there[name])}, expected {_short(value)}"
        for name, value in expected.items()
        if there[name] != value
    ]


def _short(value: str) -> str:
    return f"{value[:12]}…" if len(value) == 64 else value
