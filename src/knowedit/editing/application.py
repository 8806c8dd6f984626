"""Edits on a model: applied, stacked, and taken out in any order, bit for bit.

The rebuilding is in `knowedit.models.overlays`; here is what makes it safe for edits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Literal

from torch import Tensor

from knowedit.editing.updates import Update, as_stored, slot_of
from knowedit.errors import BaseMismatchError, InputError
from knowedit.models import Fingerprint, LanguageModel, Projection, fingerprint, tensor_digest
from knowedit.models.overlays import Overlay, lay, lift, overlays_on, own_tensor

if TYPE_CHECKING:
    from knowedit.editing.edit import Edit

SHOWN_DIFFERENCES = 3
SHOWN_DIGITS = 12


@dataclass(frozen=True, eq=False)
class Handle:
    """An edit that is applied to a model. As a context manager it takes the edit out on any exit.

    Attributes:
        edit: the edit.
        lm: the model.
        overlay: the edit's changes as they lie over the model.
    """

    edit: Edit
    lm: LanguageModel
    overlay: Overlay

    @property
    def active(self) -> bool:
        """Whether the edit is applied still."""
        return self.overlay in overlays_on(self.lm.model)

    def remove(self) -> None:
        """Take the edit out, whatever was applied after it.

        The weights are then, to the last bit, those of never having applied it. An edit that was computed on
        top of this one stays, though the weights are no longer those it was computed for. After any error,
        nothing was changed.

        Raises:
            InputError: it was taken out already, or the model was moved, converted or written to since.
            NumericalError: without this edit a weight would overflow: take the others out first.
        """
        if not self.active:
            raise InputError(
                f"the edit {short(self.edit.digest)} is not applied to {self.lm.name}: it was taken out already"
            )
        lift(self.lm.model, self.overlay)

    def __enter__(self) -> Handle:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.active:
            self.remove()


def applied_edits(lm: LanguageModel) -> tuple[Handle, ...]:
    """The edits that are applied to a model, the first applied first."""
    return tuple(Handle(overlay.source, lm, overlay) for overlay in overlays_on(lm.model))


def apply(lm: LanguageModel, edit: Edit, check: Literal["all", "edited"]) -> Handle:
    """Lay the edit over the model; see `Edit.apply`."""
    check_base(lm, edit, check)
    _check_stack(lm, edit)
    overlay = Overlay(
        {
            slot_of(lm, address): _adding(lm.projection(address.layer, address.part), update)
            for address, update in edit.updates.items()
        },
        source=edit,
    )
    lay(lm.model, overlay)
    return Handle(edit, lm, overlay)


def check_base(lm: LanguageModel, edit: Edit, check: Literal["all", "edited"]) -> None:
    """Refuse a model whose own weights differ from those the edit was made for; see `Edit.check_base`."""
    found = fingerprint(lm) if check == "all" else _edited_tensors(lm, edit)
    different = edit.base.differences(found)
    if check == "edited":
        different = [name for name in different if name in found.tensors]
    if different:
        hidden = len(different) - SHOWN_DIFFERENCES
        more = f" and {hidden} more" if hidden > 0 else ""
        raise BaseMismatchError(
            f"the edit was made for {edit.provenance.model} with other weights than {lm.name} has: "
            f"{', '.join(different[:SHOWN_DIFFERENCES])}{more} differ; load the model it was made for, "
            "in the same number format"
        )


def short(digest: str) -> str:
    """The first digits of a digest, for people."""
    return digest[:SHOWN_DIGITS]


def _edited_tensors(lm: LanguageModel, edit: Edit) -> Fingerprint:
    slots = [slot_of(lm, address) for address in edit.updates]
    return Fingerprint({s.path: tensor_digest(own_tensor(lm.model, s.tensor)) for s in slots})


def contained(edit: Edit) -> list[str]:
    """The digests of what an edit holds: its own, those it was combined from, and that it was compressed from."""
    origin = edit.provenance.compressed_from
    return [edit.digest, *edit.provenance.parts, *([origin] if origin else [])]


def _check_stack(lm: LanguageModel, edit: Edit) -> None:
    applied = {digest for handle in applied_edits(lm) for digest in contained(handle.edit)}
    twice = [digest for digest in contained(edit) if digest in applied]
    if twice:
        raise InputError(
            f"the edit {short(twice[0])} is applied to {lm.name} already: applied twice it would overshoot, "
            "use the handle that the first apply returned"
        )
    missing = [short(digest) for digest in edit.provenance.on_top_of if digest not in applied]
    if missing:
        raise InputError(
            f"the edit {short(edit.digest)} was computed on top of {', '.join(missing)}, not applied to {lm.name}: "
            "apply first, in this order, the edit files whose digests begin so (knowedit inspect shows them)"
        )


def _adding(projection: Projection, update: Update) -> Callable[[Tensor], Tensor]:
    return lambda total: total + as_stored(projection, update)
