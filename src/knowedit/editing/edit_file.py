"""The file of an edit: one safetensors file with all that applying, inspecting and exporting needs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch
from numpy.typing import NDArray
from torch import Tensor

from knowedit.editing.provenance import Preflight, Provenance
from knowedit.editing.updates import DENSE, Address, Dense, Place, Update, kind_of
from knowedit.errors import FileFormatError
from knowedit.facts import Fact
from knowedit.linalg import LowRank
from knowedit.models import Fingerprint
from knowedit.tensorfile import Kind, PathLike, read_tensors, write_tensors

if TYPE_CHECKING:
    from knowedit.editing.edit import Edit

KIND: Final = Kind("edit", "2", "edit", "Edit.save")


def save(edit: Edit, path: PathLike) -> None:
    """Write an edit atomically; the same edit gives the same bytes."""
    write_tensors(path, KIND, _tensors(edit), _metadata(edit))


def digest(edit: Edit) -> str:
    """The SHA-256 that the edit's file holds of its content."""
    return KIND.digest(_tensors(edit), _metadata(edit))


def load(path: PathLike, kind: type[Edit]) -> Edit:
    """Read an edit that `save` wrote."""
    content = read_tensors(path, KIND)
    try:
        entries = {name: json.loads(value) for name, value in content.metadata.items()}
        return kind(**_fields(content.tensors, entries))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FileFormatError(
            f"{Path(path)} is an edit file with missing or wrong entries ({error}): make the edit again"
        ) from None


def _name(address: Address, suffix: str) -> str:
    return f"{address.layer}.{address.part}.{address.tensor}.{suffix}"


def _tensors(edit: Edit) -> dict[str, NDArray[Any]]:
    found: dict[str, NDArray[Any]] = {}
    for address, update in edit.updates.items():
        for suffix, part in _parts(update).items():
            found[_name(address, suffix)] = part.detach().cpu().numpy()
    return found


def _parts(update: Update) -> dict[str, Tensor]:
    if isinstance(update, LowRank):
        return {"left": update.left, "right": update.right}
    return {"dense": update.matrix}


def _metadata(edit: Edit) -> dict[str, str]:
    described = {
        "updates": [_entry(edit, address, update) for address, update in edit.updates.items()],
        "base": edit.base.tensors,
        "provenance": asdict(edit.provenance),
        "preflight": asdict(edit.preflight),
    }
    return {name: json.dumps(value) for name, value in described.items()}


def _entry(edit: Edit, address: Address, update: Update) -> dict[str, Any]:
    place = edit.places.get(address)
    return {
        **address._asdict(),
        "kind": kind_of(update),
        "dtype": str(update.dtype).removeprefix("torch."),
        "place": None if place is None else asdict(place),
    }


def _fields(tensors: Mapping[str, NDArray[Any]], entries: Mapping[str, Any]) -> dict[str, Any]:
    provenance = entries["provenance"]
    facts = tuple(Fact(**fact) for fact in provenance.pop("facts"))
    prefixes, on_top_of = tuple(provenance.pop("prefixes")), tuple(provenance.pop("on_top_of"))
    described = [(Address(e["layer"], e["part"], e["tensor"]), e) for e in entries["updates"]]
    return {
        "updates": {address: _update(tensors, address, entry) for address, entry in described},
        "base": Fingerprint(entries["base"]),
        "provenance": Provenance(**provenance, facts=facts, prefixes=prefixes, on_top_of=on_top_of),
        "preflight": Preflight(**entries["preflight"]),
        "places": {a: Place(**entry["place"]) for a, entry in described if entry["place"] is not None},
    }


def _update(tensors: Mapping[str, NDArray[Any]], address: Address, entry: Mapping[str, Any]) -> Update:
    dtype = getattr(torch, entry["dtype"])
    if entry["kind"] == DENSE:
        return Dense(torch.from_numpy(tensors[_name(address, "dense")]), dtype)
    left, right = (torch.from_numpy(tensors[_name(address, side)]) for side in ("left", "right"))
    return LowRank(left, right, dtype)
