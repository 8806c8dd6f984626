"""New edits from old ones: several as one, and one of lower rank."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

from knowedit.editing.application import contained, short
from knowedit.editing.provenance import COMBINED, Preflight, Provenance
from knowedit.editing.updates import Address, Place, Update, added, truncated
from knowedit.errors import BaseMismatchError, InputError

if TYPE_CHECKING:
    from knowedit.editing.edit import Edit

SUMMED: Final = ("relative_change", "change_on_text")
"""Figures of a preflight that are norms of the update: of a sum, at most the sum of the norms."""
SMALL_IS_BAD: Final = ("divisor", "probability", "alignment")


def combined(edits: Sequence[Edit]) -> Edit:
    """The updates added, address by address; see `Edit.combined`."""
    _check(edits)
    updates: dict[Address, Update] = {}
    places: dict[Address, Place] = {}
    for edit in edits:
        places |= edit.places
        for address, update in edit.updates.items():
            updates[address] = added(updates[address], update) if address in updates else update
    return replace(
        edits[0],
        updates=updates,
        places=places,
        provenance=_provenance(edits),
        preflight=_preflight([edit.preflight for edit in edits]),
    )


def compressed(edit: Edit, rank: int) -> Edit:
    """Every weight's update cut to at most ``rank``; see `Edit.compressed`."""
    if rank < 1:
        raise InputError(f"rank is {rank}, expected at least 1: nothing would be left of the edit")
    cut = {address: truncated(update, rank) for address, update in edit.updates.items()}
    lost = {
        str(address): error for address, (update, error) in cut.items() if update is not edit.updates[address]
    }
    if not lost:
        return edit
    before = edit.preflight.compression
    return replace(
        edit,
        updates={address: update for address, (update, _) in cut.items()},
        provenance=replace(edit.provenance, compressed_from=edit.digest),
        preflight=replace(edit.preflight, compression={**before, **lost}),
    )


def _check(edits: Sequence[Edit]) -> None:
    if not edits:
        raise InputError("there is no edit to combine: give at least one")
    for other in edits[1:]:
        if different := edits[0].base.differences(other.base):
            raise BaseMismatchError(
                f"the edits {short(edits[0].digest)} and {short(other.digest)} were made for different weights "
                f"({different[0]} differs): combine edits of one model in one number format"
            )
    inside = [digest for edit in edits for digest in contained(edit)]
    if len(set(inside)) < len(inside):
        raise InputError("one edit is given twice, which would overshoot: give each once")
    for i, edit in enumerate(edits):
        later = {digest for other in edits[i:] for digest in contained(other)}
        late = [short(digest) for digest in edit.provenance.on_top_of if digest in later]
        if late:
            raise InputError(
                f"the edit {short(edit.digest)} was computed on top of {late[0]}: give that one before it"
            )


def _provenance(edits: Sequence[Edit]) -> Provenance:
    first = edits[0].provenance
    inside = {digest for edit in edits for digest in contained(edit)}
    below = (digest for edit in edits for digest in edit.provenance.on_top_of if digest not in inside)
    return Provenance(
        editor=COMBINED,
        settings={"parts": [part for edit in edits for part in _parts(edit)]},
        facts=tuple(fact for edit in edits for fact in edit.provenance.facts),
        model=first.model,
        seed=None,
        prefixes=(),
        versions={"knowedit": version("knowedit")},
        on_top_of=tuple(dict.fromkeys(below)),
    )


def _parts(edit: Edit) -> list[dict[str, object]]:
    """What is known of an edit, and after it of those it was combined from, as a file gives it back."""
    found = asdict(edit.provenance)
    lists = {name: list(found[name]) for name in ("facts", "prefixes", "on_top_of")}
    inner = found["settings"].pop("parts", []) if edit.provenance.parts else []
    return [{"digest": edit.digest, **found, **lists, "preflight": asdict(edit.preflight)}, *inner]


def _preflight(parts: Sequence[Preflight]) -> Preflight:
    own = [field.name for field in fields(Preflight) if field.name != "compression"]
    figures = {name: _worst(name, [getattr(part, name) for part in parts]) for name in own}
    keys = sorted({key for part in parts for key in part.compression})
    lost = {key: max(part.compression.get(key, 0.0) for part in parts) for key in keys}
    return Preflight(**figures, compression=lost)


def _worst(name: str, given: Sequence[float | None]) -> Any:
    values = [value for value in given if value is not None]
    if not values or (name in SUMMED and len(values) < len(given)):
        return None  # a bound for some of the edits is none for all of them
    if name in SUMMED:
        return sum(values)
    return min(values) if name in SMALL_IS_BAD else max(values)
