"""New edits from old ones: several as one, and one of lower rank."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import TypeVar

from knowedit.editing.edits.content import Content
from knowedit.editing.edits.contradictions import check_consistent
from knowedit.editing.edits.provenance import COMBINED, Diagnostics, Provenance
from knowedit.editing.edits.updates import Updates
from knowedit.errors import BaseMismatchError, InputError

E = TypeVar("E", bound=Content)


def combined(edits: Sequence[E]) -> E:
    """The updates added, address by address; see `Edit.combined`."""
    _check(edits)
    updates, places = Updates(edits[0].updates), dict(edits[0].places)
    for edit in edits[1:]:
        updates = updates.plus(Updates(edit.updates))
        places.update(edit.places)
    return replace(
        edits[0],
        updates=updates,
        places=places,
        provenance=_provenance(edits),
        diagnostics=Diagnostics.worst([edit.diagnostics for edit in edits]),
        outcome=None,
    )


def compressed(edit: E, rank: int) -> E:
    """Every weight's update cut to at most ``rank``; see `Edit.compressed`."""
    if rank < 1:
        raise InputError(f"rank is {rank}, expected at least 1: nothing would be left of the edit")
    updates, lost = Updates(edit.updates).cut(rank)
    if not lost:
        return edit
    losses = edit.diagnostics.compression | {str(address): error for address, error in lost.items()}
    return replace(
        edit,
        updates=updates,
        provenance=replace(edit.provenance, compressed_from=edit.digest),
        diagnostics=replace(edit.diagnostics, compression=losses),
        outcome=None,
    )


def _check(edits: Sequence[Content]) -> None:
    if not edits:
        raise InputError("there is no edit to combine: give at least one")
    for other in edits[1:]:
        if different := edits[0].base.differences(other.base):
            raise BaseMismatchError(
                f"the edits {edits[0].digest:.12} and {other.digest:.12} were made for different weights "
                f"({different[0]} differs): combine edits of one model in one number format"
            )
    inside = [digest for edit in edits for digest in edit.contained]
    if len(set(inside)) < len(inside):
        raise InputError("one edit is given twice, which would overshoot: give each once")
    for i, edit in enumerate(edits):
        later = {digest for other in edits[i:] for digest in other.contained}
        late = [digest for digest in edit.provenance.on_top_of if digest in later]
        if late:
            raise InputError(
                f"the edit {edit.digest:.12} was computed on top of {late[0]:.12}: give that one before it"
            )
    check_consistent(edits)


def _provenance(edits: Sequence[Content]) -> Provenance:
    first = edits[0].provenance
    inside = {digest for edit in edits for digest in edit.contained}
    below = (digest for edit in edits for digest in edit.provenance.on_top_of if digest not in inside)
    return Provenance(
        editor=COMBINED,
        settings={"parts": [part for edit in edits for part in _parts(edit)]},
        facts=tuple(fact for edit in edits for fact in edit.provenance.facts),
        model=first.model,
        source=first.source,
        seed=None,
        prefixes=(),
        versions={"knowedit": version("knowedit")},
        on_top_of=tuple(dict.fromkeys(below)),
    )


def _parts(edit: Content) -> list[dict[str, object]]:
    """What is known of an edit, and after it of those it was combined from, as a file gives it back."""
    found = edit.provenance.as_json()
    lists = {name: list(found[name]) for name in ("facts", "prefixes", "on_top_of")}
    inner = found["settings"].pop("parts", []) if edit.provenance.parts else []
    measured = {} if edit.outcome is None else {"outcome": edit.outcome.as_json()}
    own = {"digest": edit.digest, **found, **lists, "preflight": edit.diagnostics.as_json(), **measured}
    return [own, *inner]
