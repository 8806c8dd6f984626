"""Open a model by name, folder, GGUF file or Hub id, or take one that is already in memory."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from knowedit.bundled import own_models
from knowedit.errors import FileFormatError, InputError
from knowedit.models.anatomies.anatomy import Anatomy
from knowedit.models.anatomies.contract import check_anatomy
from knowedit.models.anatomies.discovery import discover
from knowedit.models.anatomies.families import FAMILIES
from knowedit.models.anatomies.kinds import kind_by_config, refuse_kind
from knowedit.models.language_model import LanguageModel
from knowedit.models.sources.checks import check_config
from knowedit.models.sources.finite import check_finite
from knowedit.models.sources.hub import hub_answers, quiet
from knowedit.models.sources.places import Place
from knowedit.reading import shown

TOKENIZER_FILES = ("tokenizer.json", "vocab.json", "tokenizer.model")
# What transformers raises for files that it cannot make sense of: anything, and tokenizers raise Exception itself.
UNREADABLE = Exception
LONGEST_REASON = 300
# What a device map may say besides the name of a device.
PLACES = {"auto", "balanced", "balanced_low_0", "sequential", "disk"}


def load(
    source: str | Path | tuple[Any, Any],
    *,
    tokenizer: Any = None,
    dtype: torch.dtype | str | None = None,
    device: torch.device | str | None = None,
    device_map: str | Mapping[str, Any] | None = None,
    anatomy: Anatomy | None = None,
    revision: str | None = None,
) -> LanguageModel:
    """Open a model with its tokenizer.

    The anatomy of a model whose family is not known by name is found: a few forwards on a few tokens show which
    module is what, and whether the laws of `check_anatomy` hold, so that nothing can be mismeasured later. One that is
    given is measured in the same way. Families known by name are only searched for their parts; the package's own
    tests measure the laws on them.

    Args:
        source: the name of a model of this package, a folder, a GGUF file or a folder with one (its weights are
            unpacked, and its tokenizer is in it), an id on the Hugging Face Hub such as ``gpt2-xl`` or
            ``EleutherAI/gpt-j-6B``, or a ``(model, tokenizer)`` pair, which is left exactly as it is.
        tokenizer: a tokenizer, or a folder or id to load it from; by default the source's own.
        dtype: the number format, ``torch.float32`` by default; not for a pair.
        device: where to put the model, the CPU by default; not for a pair.
        device_map: how to spread the model over devices, as transformers takes it: ``"auto"``, or module
            paths to devices. Needs accelerate. Not together with ``device``, and not for a pair.
        anatomy: where the model keeps its parts, for a model on which they are not found.
        revision: a branch, tag or commit on the Hub.

    Raises:
        InputError: nothing of that name, a model that is no decoder of one attention and one MLP a block, an
            anatomy that breaks a law, none that keeps them all or two, a quantised model in another form than
            GGUF, a model and tokenizer that do not fit, a pair whose model is in training mode, or a device map
            that cannot be followed or leaves parts of the model off all devices.
        FileFormatError: a folder whose files are missing, truncated or incomplete.
        NumericalError: a weight that is NaN or infinite; names the first tensor that has one.
    """
    if isinstance(source, tuple):
        if any(option is not None for option in (dtype, device, device_map)):
            raise InputError(
                "a model in memory is left as it is: convert or move it before loading, not by "
                "dtype/device/device_map"
            )
        return _wrap_pair(source, tokenizer, anatomy)
    target = _read_target(device, device_map)
    place = Place.find(str(source))
    with quiet(place.offline), place.reading():
        config = _config(place, revision)
        _check_kind(place.name, config, anatomy)
        known = anatomy or FAMILIES.get(config.model_type)
        table = known is not None and known.position_embedding is not None
        check_config(place.name, config, None if place.gguf else place.folder, table=table)
        if tokenizer is None:
            own = _own_tokenizer(place, revision)
        else:
            own = _given_tokenizer(tokenizer, place, revision)
        options = {"revision": revision, "dtype": _dtype(dtype), "device_map": device_map}
        model = _weights(place, config, options)
    moved = model if target is None else model.to(target)
    return _assemble(moved, own, anatomy, place.name, place.folder, place.source)


def _wrap_pair(pair: tuple[Any, Any], tokenizer: Any, anatomy: Anatomy | None) -> LanguageModel:
    if len(pair) != 2 or not hasattr(pair[0], "config"):
        raise InputError("expected a (model, tokenizer) pair of transformers objects")
    model, own = pair
    if model.training:
        raise InputError(
            "the model is in training mode, where dropout makes every run differ: call model.eval() first"
        )
    name = str(getattr(model.config, "name_or_path", "")) or f"{model.config.model_type} in memory"
    check_config(name, model.config, None)
    _check_kind(name, model.config, anatomy)
    source = str(Path(name).absolute()) if Path(name).is_dir() and name not in own_models() else None
    return _assemble(model, own if tokenizer is None else tokenizer, anatomy, name, None, source)


def _assemble(
    model: Any, tokenizer: Any, given: Anatomy | None, name: str, folder: Path | None, source: str | None
) -> LanguageModel:
    if not getattr(tokenizer, "is_fast", False):
        raise InputError(
            f"{name} needs a fast tokenizer, {type(tokenizer).__name__} is none: give one as tokenizer="
        )
    if not isinstance(longest := getattr(tokenizer, "model_max_length", 0), int | float):
        raise InputError(
            f"the tokenizer of {name} has the model_max_length {shown(longest)}, expected a number: correct its "
            "tokenizer_config.json"
        )
    known = FAMILIES.get(model.config.model_type)
    anatomy = given or known or discover(model.eval(), tokenizer, name)
    anatomy.check(model)
    check_finite(model, name)
    lm = LanguageModel(model.eval(), tokenizer, anatomy, name, folder, source)
    if len(tokenizer) > lm.vocabulary:
        raise InputError(
            f"the tokenizer has {len(tokenizer)} tokens but {name} only {lm.vocabulary}: "
            "give the tokenizer that the model was trained with"
        )
    # A model without memory behind it (device "meta") has shapes only, so nothing can be mismeasured on it.
    if given not in (None, known) and lm.device.type != "meta":
        check_anatomy(lm)
    return lm


def _check_kind(name: str, config: Any, anatomy: Anatomy | None) -> None:
    """Before the weights are read."""
    if anatomy is None and config.model_type not in FAMILIES:
        refuse_kind(name, kind_by_config(config))


def _config(place: Place, revision: str | None) -> Any:
    try:
        return AutoConfig.from_pretrained(place.where, revision=revision, **place.options)
    except UNREADABLE as problem:
        if place.gguf is not None:
            raise place.gguf.refused(problem) from problem
        if place.on_hub and isinstance(problem, OSError):
            raise InputError(_not_found(place.name, place.offline)) from problem
        raise _broken(place.where, problem) from problem


def _not_found(source: str, offline: bool) -> str:
    hub = (
        "the Hugging Face Hub cannot be reached"
        if offline
        else "the Hugging Face Hub gives none of that name"
    )
    return (
        f"no model {source!r}: it is not one of this package ({', '.join(own_models()) or 'which has none'}), not a "
        f"folder or a GGUF file, and {hub}; check the spelling, or download it where there is a network and give the "
        "folder"
    )


def _broken(source: str, problem: Exception) -> FileFormatError:
    if type(problem).__name__ == "UnpicklingError":
        return _refused_pickle(source)
    reason = " ".join(str(problem).split()) or type(problem).__name__
    reason = reason if len(reason) <= LONGEST_REASON else f"{reason[:LONGEST_REASON]}..."
    return FileFormatError(f"the model {source} cannot be opened: {reason}")


def _refused_pickle(source: str) -> FileFormatError:
    """Transformers reads pickles of tensors and refuses to run anything else in them."""
    files = ", ".join(sorted(path.name for path in Path(source).glob("*.bin"))[:3]) or "a .bin file"
    return FileFormatError(
        f"the weights of {source} are a pickle ({files}) with more in it than tensors, or a damaged one, and nothing "
        "in a file is run: get model.safetensors, or save it with model.save_pretrained(folder) where the file is "
        "trusted"
    )


def _own_tokenizer(place: Place, revision: str | None) -> Any:
    if place.gguf is None:
        return _tokenizer(place.where, {"revision": revision, **place.options})
    try:
        return AutoTokenizer.from_pretrained(place.where, **place.options)
    except UNREADABLE as problem:
        raise place.gguf.untokenized(problem) from problem


def _given_tokenizer(wanted: Any, place: Place, revision: str | None) -> Any:
    if not isinstance(wanted, str | Path):
        return wanted
    if place.gguf is None and str(wanted) in (place.where, place.name):
        return _own_tokenizer(place, revision)
    offline = not Path(wanted).is_dir() and not hub_answers()
    return _tokenizer(str(wanted), {"local_files_only": offline, "trust_remote_code": False})


def _tokenizer(source: str, options: dict[str, Any]) -> Any:
    # transformers makes up an empty tokenizer for a folder without one.
    folder = Path(source)
    if folder.is_dir() and not any((folder / name).is_file() for name in TOKENIZER_FILES):
        raise FileFormatError(
            f"the folder {source} has no tokenizer ({', '.join(TOKENIZER_FILES)}): give tokenizer="
        )
    try:
        return AutoTokenizer.from_pretrained(source, **options)
    except UNREADABLE as problem:
        raise _broken(source, problem) from problem


def _weights(place: Place, config: Any, options: dict[str, Any]) -> Any:
    source = place.where if place.gguf is None else str(place.gguf.path)
    options = options | place.options | (place.gguf.options if place.gguf else {})
    try:
        model, report = AutoModelForCausalLM.from_pretrained(
            place.where, config=config, output_loading_info=True, **options
        )
    except UNREADABLE as problem:
        raise (place.gguf.damaged(problem) if place.gguf else _broken(source, problem)) from problem
    missing = sorted(report["missing_keys"])
    if missing:
        raise FileFormatError(
            f"the model {source} lacks {len(missing)} tensors, the first is {missing[0]}: "
            "they would be random numbers, so get complete files"
        )
    _check_in_memory(source, model)
    return model


def _check_in_memory(source: str, model: Any) -> None:
    away = [name for name, tensor in model.state_dict().items() if tensor.is_meta]
    if away:
        raise InputError(
            f"the device map leaves {len(away)} tensors of {source} off every device, the first is {away[0]} "
            "(offloaded to the CPU or to disk beside an accelerator): they cannot be read or edited there, "
            "so give a map that places every module, a smaller dtype, or the CPU alone"
        )


def _read_target(
    device: torch.device | str | None, device_map: str | Mapping[str, Any] | None
) -> torch.device | None:
    """The one device to move to, or None where a device map places the model."""
    if device_map is None:
        return _device(device)
    if device is not None:
        raise InputError(
            "device and device_map were both given: a device map places the whole model by itself"
        )
    if find_spec("accelerate") is None:
        raise InputError(
            "a device map needs the package accelerate: run 'pip install accelerate', or give device="
        )
    wanted = device_map.values() if isinstance(device_map, Mapping) else [device_map]
    for place in set(wanted) - PLACES:
        _device(place)
    return None


def _dtype(dtype: torch.dtype | str | None) -> torch.dtype:
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


def _device(device: torch.device | str | int | None) -> torch.device:
    """A usable device from itself or its name; the CPU for None.

    Raises:
        InputError: not a device, or one that this machine lacks.
    """
    try:
        found = torch.device("cpu" if device is None else device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError, NotImplementedError) as problem:
        raise InputError(
            f"the device {str(device)!r} is not usable here: {str(problem).splitlines()[0]}"
        ) from problem
    return found
