"""Edits for others: a LoRA adapter, and a whole model with the edit in its weights."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save as safetensors_bytes
from torch import Tensor

from knowedit.bundled import NOTES, notes, own_models, statistics_text
from knowedit.editing.edits.card import CARD, card
from knowedit.editing.edits.content import Content
from knowedit.editing.edits.contradictions import check_consistent
from knowedit.editing.edits.updates import Address
from knowedit.errors import FileFormatError, InputError, NumericalError
from knowedit.linalg import LowRank
from knowedit.models import LanguageModel, load
from knowedit.models.sources.hub import save_pretrained
from knowedit.writing import PathLike, new_folder, write_bytes
from knowedit.writing import check_folder as check_place

NOTE: Final = "knowedit_export.json"
"""The file in every export that lists the edits in it."""
CONFIG: Final = "adapter_config.json"
WEIGHTS: Final = "adapter_model.safetensors"
KEPT_NOTES: Final = ("edit_layer", "statistics_text")
"""What of a model's notes is as true with an edit as without: no figure that was measured on its weights."""


class Adapter(NamedTuple):
    """A LoRA adapter that was written.

    Attributes:
        folder: where.
        rank: r, and ``lora_alpha`` too.
        modules: the module paths it changes.
        error: ‖B A − ΔW‖ / ‖ΔW‖ of its float32 factors, Frobenius, the largest over the modules.
    """

    folder: Path
    rank: int
    modules: tuple[str, ...]
    error: float


def to_peft(
    edit: Content, folder: PathLike, lm: LanguageModel | None, *, base_model: str | None, force: bool
) -> Adapter:
    """Write a LoRA adapter; see `Edit.to_peft`."""
    updates = _low_rank(edit)
    _check_alone(edit)
    check_consistent([edit])
    dtype = next(iter(updates.values())).dtype
    if lm is None and base_model is not None:
        lm = load(base_model, dtype=dtype)
    if lm is not None:
        edit.check_base(lm)
    base = base_model or _location(edit, lm)
    transposed = _one_orientation(edit)
    factors = {edit.places[address].module: balanced(update) for address, update in updates.items()}
    rank = max(left.shape[1] for left, _ in factors.values())
    errors = [_error(factors[edit.places[address].module], update) for address, update in updates.items()]
    config = _lora_config(sorted(factors), rank, transposed, base)
    with new_folder(folder, NOTE, "export", force=force) as place:
        write_bytes(place / WEIGHTS, safetensors_bytes(_lora_tensors(factors, rank), {"format": "pt"}))
        write_bytes(place / CONFIG, _json(config))
        write_bytes(place / CARD, card([edit], "adapter", base, str(dtype).removeprefix("torch.")))
        _write_note(place, "LoRA adapter", [edit])
    return Adapter(Path(folder), rank, tuple(sorted(factors)), max(errors))


def write_model(lm: LanguageModel, edits: Sequence[Content], folder: PathLike, *, force: bool) -> None:
    """Write a model as it is, with a note of the edits that are applied to it; see `Edit.merged`."""
    with new_folder(folder, NOTE, "export", force=force) as place:
        save_pretrained(lm.model, lm.tokenizer, place)
        write_bytes(
            place / CARD, card(edits, "model", _location(edits[0], lm), str(lm.dtype).removeprefix("torch."))
        )
        _keep_notes(lm, place)
        _write_note(place, "model", edits)


def _location(edit: Content, lm: LanguageModel | None) -> str:
    """What opens the base: a folder, also that of a model of this package, which peft does not know by its name."""
    name = edit.provenance.base if lm is None else lm.source or lm.name
    return str(own_models().get(name, name))


def balanced(update: LowRank) -> tuple[Tensor, Tensor]:
    """Factors B ``(d_out, r)`` and A ``(r, d_in)`` of an update, float32, of the same size in every rank.

    The product's singular values are shared by both sides, so a conversion to half precision later neither
    overflows the one nor underflows the other.

    Raises:
        NumericalError: a factor does not fit float32.
    """
    (left, upper), (right, lower) = (torch.linalg.qr(side.cpu()) for side in (update.left, update.right))
    core = upper @ lower.T
    if not bool(core.isfinite().all()):
        raise _too_large()
    inner, sizes, outer = torch.linalg.svd(core, full_matrices=False)
    roots = sizes.sqrt()
    factors = ((left @ inner) * roots).float(), (roots[:, None] * (outer @ right.T)).float()
    if not all(bool(factor.isfinite().all()) for factor in factors):
        raise _too_large()
    return factors


def _too_large() -> NumericalError:
    return NumericalError(
        "an update is too large for float32 factors: no model can use it, make the edit again"
    )


def check_folder(folder: PathLike, *, force: bool = False) -> None:
    """Refuse before any work a folder that could not, or should not, be written; see `Edit.merged`."""
    check_place(folder, NOTE, "export", force=force)


def _low_rank(edit: Content) -> dict[Address, LowRank]:
    found: dict[Address, LowRank] = {}
    for address, update in edit.updates.items():
        if address.tensor == "bias":
            raise InputError(
                f"the edit changes the bias of {address}, which a LoRA adapter cannot: write the whole "
                "model with Edit.merged (--to merged)"
            )
        if not isinstance(update, LowRank):
            raise InputError(
                f"the update of {address} is dense: cut it with Edit.compressed(rank) (--rank), which reports what "
                "that loses, or write the whole model with Edit.merged (--to merged)"
            )
        found[address] = update
    return found


def _check_alone(edit: Content) -> None:
    if edit.provenance.on_top_of:
        below = ", ".join(f"{digest:.12}" for digest in edit.provenance.on_top_of)
        raise InputError(
            f"the edit was computed on top of {below}, without which an adapter would do something else: combine "
            "them first, Edit.combined([below, edit]) (give all the files to knowedit export)"
        )


def _one_orientation(edit: Content) -> bool:
    missing = [address for address in edit.updates if address not in edit.places]
    if missing:
        raise InputError(
            f"the edit does not say which module {missing[0]} is: make it with Edit.computed, as editors do"
        )
    kinds = {edit.places[address].transposed for address in edit.updates}
    if len(kinds) > 1:
        raise InputError(
            "the edit changes Conv1D and Linear layers, an adapter has one fan_in_fan_out for all its modules: "
            "export them as two edits, or write the whole model with Edit.merged (--to merged)"
        )
    return kinds.pop()


def _error(factors: tuple[Tensor, Tensor], update: LowRank) -> float:
    full = update.materialise(torch.float64).cpu()
    found = factors[0].double() @ factors[1].double()
    return float((found - full).norm() / full.norm()) if bool(full.any()) else 0.0


def _lora_tensors(factors: dict[str, tuple[Tensor, Tensor]], rank: int) -> dict[str, NDArray[np.float32]]:
    """PEFT's names; every module has the same rank, filled up with zeros."""
    found = {}
    for module, (left, right) in factors.items():
        missing = rank - left.shape[1]
        found[f"base_model.model.{module}.lora_A.weight"] = np.pad(right.numpy(), ((0, missing), (0, 0)))
        found[f"base_model.model.{module}.lora_B.weight"] = np.pad(left.numpy(), ((0, 0), (0, missing)))
    return found


def _lora_config(modules: Sequence[str], rank: int, transposed: bool, base_model: str) -> dict[str, Any]:
    return {
        "base_model_name_or_path": base_model,
        "bias": "none",
        "fan_in_fan_out": transposed,
        "inference_mode": True,
        "init_lora_weights": True,
        "lora_alpha": rank,
        "lora_dropout": 0.0,
        "modules_to_save": None,
        "peft_type": "LORA",
        "r": rank,
        "target_modules": list(modules),
        "task_type": "CAUSAL_LM",
        "use_dora": False,
        "use_rslora": False,
    }


def _write_note(place: Path, what: str, edits: Sequence[Content]) -> None:
    """The last file of an export: what is in it, its other files among that."""
    write_bytes(place / NOTE, _json(_note(what, edits, sorted(path.name for path in place.iterdir()))))


def _note(what: str, edits: Sequence[Content], files: Sequence[str]) -> dict[str, Any]:
    return {
        "what": what,
        "files": list(files),
        "model": edits[0].provenance.model,
        "base": edits[0].base.digest,
        "edits": [
            {"digest": edit.digest, "facts": [asdict(fact) for fact in edit.provenance.facts]}
            for edit in edits
        ],
    }


def _keep_notes(lm: LanguageModel, place: Path) -> None:
    """The base's notes that stay true, with the text that key statistics can be gathered from again."""
    known = notes(lm.folder)
    kept = {name: known[name] for name in KEPT_NOTES if name in known}
    text = statistics_text(lm.folder)
    if kept:
        write_bytes(place / NOTES, _json(kept))
    if text is None:
        return
    if not text.is_file() or text.name in {NOTE, *(path.name for path in place.iterdir())}:
        raise FileFormatError(
            f"the notes of {lm.folder} name {text.name!r} as the text for key statistics: expected a file beside them "
            "of a name that nothing else has; correct or remove the entry statistics_text"
        )
    shutil.copyfile(text, place / text.name)


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()
