"""Open a model by bundled name, Hub id or folder, or take one that is already in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from knowedit.errors import FileFormatError, InputError
from knowedit.models.anatomy import Anatomy
from knowedit.models.contract import check_paths
from knowedit.models.families import FAMILIES
from knowedit.models.hub import hub_answers, quiet
from knowedit.models.language_model import LanguageModel
from knowedit.registry import bundled_models

TOKENIZER_FILES = ("tokenizer.json", "vocab.json", "tokenizer.model")


def load(
    source: str | Path | tuple[Any, Any],
    *,
    tokenizer: Any = None,
    dtype: torch.dtype | str | None = None,
    device: torch.device | str | None = None,
    anatomy: Anatomy | None = None,
    revision: str | None = None,
) -> LanguageModel:
    """Open a model with its tokenizer.

    Args:
        source: the name of a bundled model, a folder, an id on the Hugging Face Hub such as ``gpt2-xl`` or
            ``EleutherAI/gpt-j-6B``, or a ``(model, tokenizer)`` pair, which is left exactly as it is.
        tokenizer: a tokenizer, or a folder or id to load it from; by default the source's own.
        dtype: the number format, ``torch.float32`` by default; not for a pair.
        device: where to put the model, the CPU by default; not for a pair.
        anatomy: where the model keeps its parts, for families that are not known by name.
        revision: a branch, tag or commit on the Hub.

    Raises:
        InputError: nothing of that name, a family that is not supported, a model and tokenizer that do not
            fit, or a pair whose model is in training mode.
        FileFormatError: a folder whose files are missing, truncated or incomplete.
    """
    if isinstance(source, tuple):
        if dtype is not None or device is not None:
            raise InputError(
                "a model in memory is left as it is: convert or move it before loading, not by dtype/device"
            )
        return _wrap_pair(source, tokenizer, anatomy)
    place, folder, offline = _find(str(source))
    arguments = {"revision": revision, "local_files_only": offline, "trust_remote_code": False}
    with quiet(folder is not None or offline):
        config = _config(str(source), place, folder, arguments)
        anatomy = anatomy or _family(config)
        own = _tokenizer(str(source), place if tokenizer is None else tokenizer, arguments)
        model = _weights(str(source), place, config, read_dtype(dtype), arguments)
    name = folder.name if folder is not None else str(source)
    return _assemble(model.to(read_device(device)).eval(), own, anatomy, name, folder)


def _wrap_pair(pair: tuple[Any, Any], tokenizer: Any, anatomy: Anatomy | None) -> LanguageModel:
    if len(pair) != 2 or not hasattr(pair[0], "config"):
        raise InputError("expected a (model, tokenizer) pair of transformers objects")
    model, own = pair
    if model.training:
        raise InputError(
            "the model is in training mode, where dropout makes every run differ: call model.eval() first"
        )
    name = str(getattr(model.config, "name_or_path", "")) or f"{model.config.model_type} in memory"
    return _assemble(
        model, own if tokenizer is None else tokenizer, anatomy or _family(model.config), name, None
    )


def _assemble(model: Any, tokenizer: Any, anatomy: Anatomy, name: str, folder: Path | None) -> LanguageModel:
    if not getattr(tokenizer, "is_fast", False):
        raise InputError(
            f"{name} needs a fast tokenizer, {type(tokenizer).__name__} is none: give one as tokenizer="
        )
    check_paths(anatomy, model)
    lm = LanguageModel(model, tokenizer, anatomy, name, folder)
    if len(tokenizer) > lm.vocabulary:
        raise InputError(
            f"the tokenizer has {len(tokenizer)} tokens but {name} only {lm.vocabulary}: "
            "give the tokenizer that the model was trained with"
        )
    return lm


def _family(config: Any) -> Anatomy:
    kind = config.model_type
    if kind not in FAMILIES:
        raise InputError(
            f"the model type {kind!r} is not among the supported ones ({', '.join(sorted(FAMILIES))}): "
            "pass anatomy=Anatomy(...) with the paths of its parts"
        )
    return FAMILIES[kind]


def _find(source: str) -> tuple[str, Path | None, bool]:
    """What to hand to transformers, the folder if it is one, and whether to stay off the network."""
    folder = bundled_models().get(source, Path(source).expanduser())
    if not folder.is_dir():
        return source, None, not hub_answers()
    if not (folder / "config.json").is_file():
        raise FileFormatError(
            f"the folder {source} has no config.json: give the folder that save_pretrained wrote"
        )
    return str(folder), folder, True


def _config(source: str, place: str, folder: Path | None, arguments: dict[str, Any]) -> Any:
    try:
        return AutoConfig.from_pretrained(place, **arguments)
    except OSError as problem:
        if folder is None:
            raise InputError(_not_found(source, bool(arguments["local_files_only"]))) from problem
        raise FileFormatError(_broken(source, problem)) from problem
    except (ValueError, KeyError) as problem:
        raise FileFormatError(_broken(source, problem)) from problem


def _not_found(source: str, offline: bool) -> str:
    hub = (
        "the Hugging Face Hub cannot be reached"
        if offline
        else "the Hugging Face Hub gives none of that name"
    )
    return (
        f"no model {source!r}: it is not bundled ({', '.join(bundled_models()) or 'none are'}), not a folder, "
        f"and {hub}; check the spelling, or download it where there is a network and give the folder"
    )


def _broken(source: str, problem: Exception) -> str:
    reason = (str(problem).strip() or type(problem).__name__).splitlines()[0]
    return f"the model {source} cannot be opened: {reason}"


def _open(source: str, action: Any) -> Any:
    try:
        return action()
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as problem:
        raise FileFormatError(_broken(source, problem)) from problem


def _tokenizer(source: str, wanted: Any, arguments: dict[str, Any]) -> Any:
    if not isinstance(wanted, str | Path):
        return wanted
    place = Path(wanted)
    if not place.is_dir() and str(wanted) != source:
        arguments = {"local_files_only": not hub_answers(), "trust_remote_code": False}
    # transformers makes up an empty tokenizer for a folder without one.
    if place.is_dir() and not any((place / name).is_file() for name in TOKENIZER_FILES):
        raise FileFormatError(
            f"the folder {wanted} has no tokenizer ({', '.join(TOKENIZER_FILES)}): give tokenizer="
        )
    return _open(source, lambda: AutoTokenizer.from_pretrained(str(wanted), **arguments))


def _weights(source: str, place: str, config: Any, dtype: torch.dtype, arguments: dict[str, Any]) -> Any:
    model, report = _open(
        source,
        lambda: AutoModelForCausalLM.from_pretrained(
            place, config=config, dtype=dtype, output_loading_info=True, **arguments
        ),
    )
    missing = sorted(report["missing_keys"])
    if missing:
        raise FileFormatError(
            f"the model {source} lacks {len(missing)} tensors, the first is {missing[0]}: "
            "they would be random numbers, so get complete files"
        )
    return model


def read_dtype(dtype: torch.dtype | str | None) -> torch.dtype:
    """A floating point dtype from itself or its name; float32 for None.

    Raises:
        InputError: anything else.
    """
    found = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype or torch.float32
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise InputError(
            f"{dtype!r} is not a floating point format: use float32, float16, bfloat16 or float64"
        )
    return found


def read_device(device: torch.device | str | None) -> torch.device:
    """A usable device from itself or its name; the CPU for None.

    Raises:
        InputError: not a device, or one that this machine lacks.
    """
    try:
        found = torch.device(device or "cpu")
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError, NotImplementedError) as problem:
        raise InputError(
            f"the device {str(device)!r} is not usable here: {str(problem).splitlines()[0]}"
        ) from problem
    return found
