"""What an edit holds, and its file: one safetensors file with all that applying, inspecting and exporting needs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Annotated, Any, Final, Literal, Self

import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from knowedit.editing.edits.outcome import Outcome
from knowedit.editing.edits.provenance import Diagnostics, Provenance
from knowedit.editing.edits.updates import (
    DENSE,
    Address,
    Dense,
    Place,
    TensorName,
    Update,
    Updates,
    kind_of,
    path_of,
)
from knowedit.errors import BaseMismatchError, FileFormatError, InputError
from knowedit.linalg import LowRank
from knowedit.models import Fingerprint, LanguageModel, fingerprint, tensor_digest
from knowedit.models.overlays import overlays_on, own_tensor
from knowedit.reading import checked, parsed, shown
from knowedit.tensorfile import Kind, read_tensors, write_tensors
from knowedit.writing import PathLike

KIND: Final = Kind("edit", "2", "edit", "Edit.save")
ADVICE: Final = "make the edit again"
SHOWN_DIFFERENCES: Final = 3

Check = Literal["all", "edited"]


@dataclass(frozen=True, eq=False, repr=False)
class Content:
    """The data of an `Edit`, which describes each attribute."""

    updates: Mapping[Any, Update]
    base: Fingerprint
    provenance: Provenance
    diagnostics: Diagnostics
    places: Mapping[Address, Place] = field(default_factory=dict)
    outcome: Outcome | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "updates", Updates(self.updates))
        if not self.updates:
            raise InputError("an edit without an update changes nothing: give at least one")

    @classmethod
    def computed(
        cls,
        lm: LanguageModel,
        updates: Mapping[Any, Update],
        *,
        provenance: Provenance,
        diagnostics: Diagnostics | None = None,
    ) -> Self:
        """An edit that was just computed on a model, with the edits that are applied to it now.

        Args:
            lm: the model.
            updates: address to update, in the orientation ``(d_out, d_in)``; ``(5, "mlp_down")`` is a weight's address.
            provenance: `Provenance.of` the editor.
            diagnostics: how sound it is, as far as that is known.

        Raises:
            InputError: an address that the model does not have.
        """
        below = tuple(overlay.source.digest for overlay in overlays_on(lm.model))
        addresses = Updates(updates)
        for address in addresses:
            path_of(lm, address)  # refuses one that the model does not have
        places = {address: Place.of(lm.projection(address.layer, address.part)) for address in addresses}
        provenance = replace(provenance, on_top_of=below)
        return cls(addresses, fingerprint(lm), provenance, diagnostics or Diagnostics(), places)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the content as saved, which the file holds too (``knowedit.sha256``)."""
        return KIND.digest(_tensors(self.updates), _metadata(self))

    @cached_property
    def contained(self) -> tuple[str, ...]:
        """The digests of what it holds: its own, those it was combined from, and that it was compressed from."""
        origin = self.provenance.compressed_from
        return (self.digest, *self.provenance.parts, *([origin] if origin else []))

    def check_base(self, lm: LanguageModel, *, check: Check = "all") -> None:
        """Refuse a model whose own weights, under all applied edits, are not those the edit was made for.

        Args:
            lm: the model.
            check: compare all its tensors, or the edited ones alone.

        Raises:
            BaseMismatchError: naming the tensors that differ.
        """
        found = fingerprint(lm) if check == "all" else self._edited_tensors(lm)
        different = self.base.differences(found)
        if check == "edited":
            different = [name for name in different if name in found.tensors]
        if different:
            hidden = len(different) - SHOWN_DIFFERENCES
            more = f" and {hidden} more" if hidden > 0 else ""
            raise BaseMismatchError(
                f"the edit was made for {self.provenance.model} with other weights than {lm.name} has: "
                f"{', '.join(different[:SHOWN_DIFFERENCES])}{more} differ; load the model it was made for, "
                "in the same number format"
            )

    def _edited_tensors(self, lm: LanguageModel) -> Fingerprint:
        own = {path: lm.model.get_parameter(path) for path in (path_of(lm, a) for a in self.updates)}
        return Fingerprint(
            {path: tensor_digest(own_tensor(lm.model, tensor)) for path, tensor in own.items()}
        )

    def save(self, path: PathLike, *, force: bool = False) -> None:
        """Write the edit as one safetensors file, atomically; the same edit gives the same bytes.

        Args:
            path: the file; its folder must exist.
            force: replace a file that is there.

        Raises:
            InputError: no such folder, a full disk, or a file that is there.
        """
        write_tensors(path, KIND, _tensors(self.updates), _metadata(self), force=force)

    @classmethod
    def load(cls, path: PathLike) -> Self:
        """Read an edit that `save` wrote.

        Raises:
            InputError: there is no such file.
            FileFormatError: it is truncated, altered, of another kind, or of another schema.
        """
        content = read_tensors(path, KIND)
        entries = {
            name: parsed(value, f"{path}, its entry {name},", ADVICE)
            for name, value in content.metadata.items()
        }
        stored = checked(_Stored, entries, path, ADVICE)
        try:
            return cls(**_fields(content.tensors, stored))
        except (KeyError, ValueError) as error:
            raise FileFormatError(
                f"{path} is an edit file with missing or wrong entries ({shown(error)}): {ADVICE}"
            ) from None


@dataclass(frozen=True)
class _StoredUpdate:
    """What a file says of an update, besides its tensors."""

    layer: Annotated[int, Field(ge=0)]
    part: str
    tensor: TensorName
    kind: Literal["low-rank", "dense"]
    dtype: Literal["float64", "float32", "float16", "bfloat16"]
    place: Place | None

    @property
    def address(self) -> Address:
        return Address(self.layer, self.part, self.tensor)


@dataclass(frozen=True)
class _Stored:
    """The entries of a file; it may have others."""

    updates: tuple[_StoredUpdate, ...]
    base: Annotated[dict[str, Annotated[str, Field(pattern="^[0-9a-f]{64}$")]], Field(min_length=1)]
    provenance: Provenance
    preflight: Diagnostics
    outcome: Outcome | None = None


def _name(address: Address, suffix: str) -> str:
    return f"{address.layer}.{address.part}.{address.tensor}.{suffix}"


def _tensors(updates: Mapping[Any, Update]) -> dict[str, NDArray[Any]]:
    return {
        _name(address, suffix): part.detach().cpu().numpy()
        for address, update in updates.items()
        for suffix, part in _parts(update).items()
    }


def _parts(update: Update) -> dict[str, Tensor]:
    if isinstance(update, LowRank):
        return {"left": update.left, "right": update.right}
    return {"dense": update.matrix}


def _metadata(edit: Content) -> dict[str, str]:
    described = {
        "updates": [_entry(address, update, edit.places) for address, update in edit.updates.items()],
        "base": edit.base.tensors,
        "provenance": edit.provenance.as_json(),
        "preflight": edit.diagnostics.as_json(),  # the name that it had in version 0.1.0
        **({} if edit.outcome is None else {"outcome": edit.outcome.as_json()}),
    }
    return {name: json.dumps(value) for name, value in described.items()}


def _entry(address: Address, update: Update, places: Mapping[Address, Place]) -> dict[str, Any]:
    place = places.get(address)
    return {
        **address._asdict(),
        "kind": kind_of(update),
        "dtype": str(update.dtype).removeprefix("torch."),
        "place": None if place is None else place._asdict(),
    }


def _fields(tensors: Mapping[str, NDArray[Any]], stored: _Stored) -> dict[str, Any]:
    updates = {one.address: _update(tensors, one) for one in stored.updates}
    names = [name for address, update in updates.items() for name in _stored_names(address, update)]
    if len(updates) < len(stored.updates) or sorted(names) != sorted(tensors):
        raise ValueError("it does not have the tensors of its updates, each once, and no others")
    outcome, facts = stored.outcome, len(stored.provenance.facts)
    if outcome is not None and {len(outcome.before), len(outcome.after)} != {facts}:
        raise ValueError(f"its outcome is not that of {facts} facts")
    return {
        "updates": updates,
        "base": Fingerprint(stored.base),
        "provenance": stored.provenance,
        "diagnostics": stored.preflight,
        "places": {one.address: one.place for one in stored.updates if one.place is not None},
        "outcome": stored.outcome,
    }


def _stored_names(address: Address, update: Update) -> list[str]:
    return [_name(address, suffix) for suffix in _parts(update)]


def _update(tensors: Mapping[str, NDArray[Any]], stored: _StoredUpdate) -> Update:
    dtype, address = getattr(torch, stored.dtype), stored.address
    suffixes = ("dense",) if stored.kind == DENSE else ("left", "right")
    parts = [torch.from_numpy(tensors[_name(address, suffix)]) for suffix in suffixes]
    if not all(bool(part.isfinite().all()) for part in parts):
        raise ValueError(f"the update of {address} has NaN or infinity in it")
    return Dense(parts[0], dtype) if stored.kind == DENSE else LowRank(parts[0], parts[1], dtype)
