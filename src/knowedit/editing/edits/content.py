"""What an edit holds, and its file: one safetensors file with all that applying, inspecting and exporting needs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal, Self

import torch
from numpy.typing import NDArray
from torch import Tensor

from knowedit.editing.edits.outcome import Outcome
from knowedit.editing.edits.provenance import Diagnostics, Provenance
from knowedit.editing.edits.updates import DENSE, Address, Dense, Place, Update, Updates, kind_of, path_of
from knowedit.errors import BaseMismatchError, FileFormatError, InputError
from knowedit.facts import Fact
from knowedit.linalg import LowRank
from knowedit.models import Fingerprint, LanguageModel, fingerprint, tensor_digest
from knowedit.models.overlays import overlays_on, own_tensor
from knowedit.tensorfile import Kind, read_tensors, write_tensors
from knowedit.writing import PathLike

KIND: Final = Kind("edit", "2", "edit", "Edit.save")
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

    @property
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
        try:
            entries = {name: json.loads(value) for name, value in content.metadata.items()}
            return cls(**_fields(content.tensors, entries))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise FileFormatError(
                f"{Path(path)} is an edit file with missing or wrong entries ({error}): make the edit again"
            ) from None


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
        "provenance": asdict(edit.provenance),
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


def _fields(tensors: Mapping[str, NDArray[Any]], entries: Mapping[str, Any]) -> dict[str, Any]:
    provenance = entries["provenance"]
    facts = tuple(Fact(**fact) for fact in provenance.pop("facts"))
    prefixes, on_top_of = tuple(provenance.pop("prefixes")), tuple(provenance.pop("on_top_of"))
    described = [(Address(e["layer"], e["part"], e["tensor"]), e) for e in entries["updates"]]
    return {
        "updates": {address: _update(tensors, address, entry) for address, entry in described},
        "base": Fingerprint(entries["base"]),
        "provenance": Provenance(**provenance, facts=facts, prefixes=prefixes, on_top_of=on_top_of),
        "diagnostics": Diagnostics(**entries["preflight"]),
        "places": {a: Place(**entry["place"]) for a, entry in described if entry["place"] is not None},
        "outcome": Outcome.of_json(entries["outcome"]) if "outcome" in entries else None,
    }


def _update(tensors: Mapping[str, NDArray[Any]], address: Address, entry: Mapping[str, Any]) -> Update:
    dtype = getattr(torch, entry["dtype"])
    if entry["kind"] == DENSE:
        return Dense(torch.from_numpy(tensors[_name(address, "dense")]), dtype)
    left, right = (torch.from_numpy(tensors[_name(address, side)]) for side in ("left", "right"))
    return LowRank(left, right, dtype)
