"""An edit as a value: what changes where, on which model, why, and how sound it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

from knowedit.editing import application, combination, edit_file, export
from knowedit.editing.provenance import Preflight as Preflight
from knowedit.editing.provenance import Provenance as Provenance
from knowedit.editing.updates import Address, Place, Update, Updates, slot_of
from knowedit.errors import InputError
from knowedit.models import Fingerprint, LanguageModel, fingerprint
from knowedit.tensorfile import PathLike

Check = Literal["all", "edited"]


@dataclass(frozen=True, eq=False)
class Edit:
    """Updates of a model's weights; making one changes nothing.

    Editors make it with `Edit.computed`, which reads from the model all that a file has to hold.

    Attributes:
        updates: address to update, in the orientation ``(d_out, d_in)``: ``updates[5, "mlp_down"]``.
        base: the model's own weights, under all edits.
        provenance: where it comes from.
        preflight: how sound it is.
        places: how the base model keeps the updated tensors; an export needs it.
    """

    updates: Mapping[Any, Update]
    base: Fingerprint
    provenance: Provenance
    preflight: Preflight
    places: Mapping[Address, Place] = field(default_factory=dict)

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
        preflight: Preflight,
    ) -> Edit:
        """An edit that was just computed on a model, with the edits that are applied to it now.

        Raises:
            InputError: an address that the model does not have.
        """
        below = tuple(handle.edit.digest for handle in application.applied_edits(lm))
        addresses = Updates(updates)
        for address in addresses:
            slot_of(lm, address)
        places = {address: Place.of(lm.projection(address.layer, address.part)) for address in addresses}
        provenance = replace(provenance, on_top_of=below)
        return cls(addresses, fingerprint(lm), provenance, preflight, places)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the content as saved, which the file holds too (``knowedit.sha256``)."""
        return edit_file.digest(self)

    def apply(self, lm: LanguageModel, *, check: Check = "all") -> application.Handle:
        """Change the model's weights until the handle's ``remove()``.

        Edits stack: several may be applied at once, at the same address too, and each can be taken out in
        any order. The weights are then, to the last bit, those of never having applied it: they
        are computed anew from the model's own tensors, in float64, plus the updates in the order in
        which they were applied, rounded once. With no edit left the original storage is back.

        After any error, nothing was changed.

        Args:
            lm: the model the edit was made for.
            check: compare all its own tensors with `base`, or, faster for large models, the edited ones.

        Raises:
            BaseMismatchError: other weights; says which tensor differs.
            InputError: it is applied already, it was computed on top of an edit that is not applied, or the
                model was moved, converted or written to while an edit was applied.
            NumericalError: a new weight overflows the model's number format.
        """
        return application.apply(lm, self, check)

    @contextmanager
    def applied(self, lm: LanguageModel, *, check: Check = "all") -> Iterator[LanguageModel]:
        """Change the model's weights inside the ``with``; they are put back on any exit.

        It is `apply` and ``remove`` in one, with their arguments and errors.
        """
        with self.apply(lm, check=check):
            yield lm

    def check_base(self, lm: LanguageModel, *, check: Check = "all") -> None:
        """Refuse a model whose own weights, under all applied edits, are not those the edit was made for.

        Raises:
            BaseMismatchError: naming the tensors that differ.
        """
        application.check_base(lm, self, check)

    def save(self, path: PathLike) -> None:
        """Write the edit as one safetensors file, atomically; the same edit gives the same bytes.

        Raises:
            InputError: the folder does not exist.
        """
        edit_file.save(self, path)

    @classmethod
    def load(cls, path: PathLike) -> Edit:
        """Read an edit that `save` wrote.

        Raises:
            InputError: there is no such file.
            FileFormatError: it is truncated, altered, of another kind, or of another schema.
        """
        return edit_file.load(path, cls)

    @classmethod
    def combined(cls, edits: Sequence[Edit]) -> Edit:
        """Several edits of one base as one: the updates of an address are added.

        Applied, it gives the weights of the edits applied one after the other, up to the rounding of the sum
        in float64. The facts are those of all; each edit's provenance is kept in ``settings["parts"]``. The
        preflight is the worst of each figure, and for the two relative changes the sum, an upper
        bound.

        Args:
            edits: at least one. What was computed on top of another edit comes after it.

        Raises:
            InputError: none, the same one twice, or the wrong order.
            BaseMismatchError: they were made for different weights.
        """
        return combination.combined(edits)

    def compressed(self, rank: int) -> Edit:
        """The edit with every weight's update cut to at most ``rank``, the nearest there is.

        What that loses is in ``preflight.compression``. Updates of that rank already, and biases, stay as they
        are.

        Args:
            rank: at least 1.

        Raises:
            InputError: a smaller rank.
        """
        return combination.compressed(self, rank)

    def to_peft(
        self, folder: PathLike, *, base_model: str | None = None, force: bool = False
    ) -> export.Adapter:
        """Write the edit as a LoRA adapter that ``peft`` loads: ``PeftModel.from_pretrained(model, folder)``.

        Everything comes from the edit; neither the model nor the peft package is needed.

        Args:
            folder: a new or empty folder. It appears whole or not at all.
            base_model: the name that is written as that of the base model; by default the one the edit
                was made for.
            force: replace an earlier export in the folder.

        Returns:
            What was written, with the error of its float32 factors.

        Raises:
            InputError: a dense update (see `compressed`), a bias, layers stored in both orientations, an edit
                on top of another (see `combined`), or a folder that holds something else.
        """
        return export.to_peft(self, folder, base_model=base_model, force=force)

    def merged(self, lm: LanguageModel, folder: PathLike, *, force: bool = False) -> None:
        """Write the model with the edit, and any others that are applied to it, as a plain Hugging Face folder.

        Loaded in the number format it was written in, it is bit-equal to the model with the edit applied. Key
        statistics of the base are not copied: those of the new weights differ.

        Args:
            lm: the model the edit was made for; as it was afterwards.
            folder: a new or empty folder. It appears whole or not at all.
            force: replace an earlier export in the folder.

        Raises:
            InputError: a folder that holds something else; and all errors of `apply`.
        """
        export.merged(self, lm, folder, force=force)
