"""An edit as a value: what changes where, on which model, why, and how sound it is; applied and removed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from html import escape
from typing import Any, Self

from knowedit.editing.edits import combination, export
from knowedit.editing.edits.application import put_on, take_off
from knowedit.editing.edits.content import Check, Content
from knowedit.editing.edits.contradictions import check_consistent
from knowedit.editing.edits.outcome import WANTED, Outcome, predictions
from knowedit.editing.edits.provenance import Diagnostics, Provenance
from knowedit.editing.edits.updates import Update, Updates
from knowedit.errors import InputError, KnoweditError
from knowedit.guards import Guard
from knowedit.models import LanguageModel
from knowedit.models.overlays import Held, Overlay, overlays_on
from knowedit.writing import PathLike


class Edit(Content):
    """Updates of a model's weights; making one changes nothing.

    Editors make it with `Edit.computed`, which reads from the model all that a file has to hold.

    Attributes:
        updates: address to update, in the orientation ``(d_out, d_in)``: ``updates[5, "mlp_down"]``.
        base: the model's own weights, under all edits.
        provenance: where it comes from.
        diagnostics: how sound it is.
        places: how the base model keeps the updated tensors; an export needs it.
        outcome: what the edited model predicted for the facts when the edit was computed, and the model before; None
            for edits of version 0.1.0, for those that were made from others, and inside `without_outcome`; see
            `measured`.
    """

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

        Every editor makes its edits here, so here it is measured what the edited model predicts: it costs two
        short forwards, draws nothing, and leaves the model as it was.

        Args:
            lm: the model.
            updates: address to update, in the orientation ``(d_out, d_in)``; ``(5, "mlp_down")`` is a weight's address.
            provenance: `Provenance.of` the editor.
            diagnostics: how sound it is, as far as that is known.

        Raises:
            InputError: an address that the model does not have, or an object that cannot follow its prompt.
            NumericalError: a new weight overflows the model's number format, or its logits are not finite.
        """
        made = super().computed(lm, updates, provenance=provenance, diagnostics=diagnostics)
        return replace(made, outcome=made.measured(lm)) if WANTED.get() else made

    def measured(self, lm: LanguageModel) -> Outcome:
        """What the model predicts for the facts, as it is now and with the edit; it is left as it was.

        Raises:
            InputError: see `apply`.
            NumericalError: see `apply`; or logits that are not finite.
        """
        facts = self.provenance.facts
        before = predictions(lm, facts)
        with self.applied(lm, check="edited"):
            return Outcome(before, predictions(lm, facts))

    def warnings(self) -> list[str]:
        """What a careful person would look into before using the edit; empty if nothing.

        First the facts that the edited model does not predict, with what to try, then `Diagnostics.warnings`.
        """
        missed = [] if self.outcome is None else self.outcome.missed(self.provenance.facts)
        advice = [self.diagnostics.advice()] if missed else []
        return [*missed, *advice, *self.diagnostics.warnings()]

    def __repr__(self) -> str:
        facts = self.provenance.facts
        first = f"{facts[0].text!r} -> {facts[0].target_new!r}" if facts else "no fact"
        more = f" and {len(facts) - 1} more" if len(facts) > 1 else ""
        updates = Updates(self.updates)
        return (
            f"Edit({self.provenance.editor}: {first}{more}; {updates}; norm {updates.frobenius_norm():.3g})"
        )

    def _repr_html_(self) -> str:
        updates, found = Updates(self.updates), self.diagnostics
        rows = [("fact", f"{fact.text} … {fact.target_new}") for fact in self.provenance.facts[:5]]
        rows += [("", f"and {len(self.provenance.facts) - 5} more")] if len(self.provenance.facts) > 5 else []
        rows += [
            ("editor", self.provenance.editor),
            ("model", self.provenance.model),
            ("changes", f"{updates}, norm {updates.frobenius_norm():.3g}"),
            *([] if found.probability is None else [("probability", f"{found.probability:.1%}")]),
            *(("warning", text) for text in self.warnings()),
            ("digest", f"{self.digest:.12}"),
        ]
        cells = "".join(f"<tr><th>{escape(name)}</th><td>{escape(text)}</td></tr>" for name, text in rows)
        return f"<table>{cells}</table>"

    def apply(self, lm: LanguageModel, *, check: Check = "all", wait: float = 60.0) -> Handle:
        """Change the model's weights until the handle's ``remove()``.

        Edits stack: several may be applied at once, at the same address too, and each can be removed in
        any order. The weights are then, to the last bit, those of never having applied it: they
        are computed anew from the model's own tensors, in float64, plus the updates in the order in
        which they were applied, rounded once. With no edit left the original storage is back.

        An edit that gives a prompt another object than one that is applied, and was not made on top of that one, is
        applied with a warning (`UserWarning`): the two share the probability. `combined` and the exports refuse such
        edits.

        After any error or interrupt, nothing was changed; except that one in the instant before the caller has the
        handle leaves the edit on, with `applied_edits` to find it. `applied` has no such instant.

        Args:
            lm: the model the edit was made for.
            check: compare all its own tensors with `base`, or, faster for large models, the edited ones.
            wait: how many seconds to wait for another thread that is inside a ``with edit.applied(lm)``.

        Raises:
            BaseMismatchError: other weights; names the tensor that differs.
            InputError: it is applied already, it was computed on top of an edit that is not applied, another
                thread held the model all that time, or the model was moved, converted or written to while an edit
                was applied.
            NumericalError: a new weight overflows the model's number format.
        """
        overlay = _overlay(self, lm)
        with Held(lm.model, _what(self), wait=wait):
            put_on(self, lm, overlay, check)
        return Handle(self, lm, overlay)

    def applied(
        self, lm: LanguageModel, *, check: Check = "all", wait: float = 60.0
    ) -> AbstractContextManager[LanguageModel]:
        """Change the model's weights inside the ``with``; they are put back on any exit.

        It is `apply` and ``remove`` in one, with their arguments and errors, and more careful than those:

        - An interrupt (Ctrl-C) at any instruction, the first and the last ones too, puts the weights back.
        - Inside, no other thread and no other asyncio task can apply or remove an edit on this model: they wait.
          They do not wait to run the model: what they compute meanwhile, they compute with the edit.
        """
        return _Applied(self, lm, check, wait)

    @classmethod
    def combined(cls, edits: Sequence[Edit]) -> Edit:
        """Several edits of one base as one: the updates of an address are added.

        Applied, it gives the weights of the edits applied one after the other, up to the rounding of the sum
        in float64. The facts are those of all; each edit's provenance is kept in ``settings["parts"]``. The
        diagnostics are the worst of each figure, and for the two relative changes the sum, an upper
        bound.

        Args:
            edits: at least one. What was computed on top of another edit comes after it.

        Raises:
            InputError: none, the same one twice, the wrong order, or two that contradict each other.
            BaseMismatchError: they were made for different weights.
        """
        return combination.combined(edits)

    def compressed(self, rank: int) -> Edit:
        """The edit with every weight's update cut to at most ``rank``, the nearest there is.

        What that loses is in ``diagnostics.compression``. Updates of that rank already, and biases, stay as they
        are.

        Args:
            rank: at least 1.

        Raises:
            InputError: a smaller rank.
        """
        return combination.compressed(self, rank)

    def to_peft(
        self,
        folder: PathLike,
        lm: LanguageModel | None = None,
        *,
        base_model: str | None = None,
        force: bool = False,
    ) -> export.Adapter:
        """Write the edit as a LoRA adapter that ``peft`` loads: ``PeftModel.from_pretrained(model, folder)``.

        Everything comes from the edit, and the peft package is not needed. The base that is written into it, which
        ``AutoPeftModelForCausalLM`` opens, is by default where the model was when the edit was made. Any other is
        checked: an adapter on other weights does something else, and nothing would say so.

        Args:
            folder: a new or empty folder. It appears whole or not at all.
            lm: the base model, to be checked and written as the base.
            base_model: what is written as the base in its place, such as an id on the Hub. Without ``lm`` it is
                opened, in the edit's number format, to be checked.
            force: replace an earlier export in the folder.

        Returns:
            What was written, with the error of its float32 factors.

        Raises:
            InputError: a dense update (see `compressed`), a bias, layers stored in both orientations, an edit
                on top of another (see `combined`), a base that cannot be opened, or a folder that holds something else.
            BaseMismatchError: a base with other weights.
        """
        return export.to_peft(self, folder, lm, base_model=base_model, force=force)

    def merged(self, lm: LanguageModel, folder: PathLike, *, force: bool = False) -> None:
        """Write the model with the edit, and any others that are applied to it, as a plain Hugging Face folder.

        Loaded in the number format it was written in, it is bit-equal to the model with the edit applied. Key
        statistics of the base are not copied: those of the new weights differ.

        Args:
            lm: the model the edit was made for; as it was afterwards.
            folder: a new or empty folder. It appears whole or not at all.
            force: replace an earlier export in the folder.

        Raises:
            InputError: a folder that holds something else, or edits that contradict each other; and all errors of
                `apply`.
        """
        export.check_folder(folder, force=force)
        check_consistent(
            [*(handle.edit for handle in applied_edits(lm) if handle.edit.digest != self.digest), self]
        )
        already = any(handle.edit.digest == self.digest for handle in applied_edits(lm))
        if already:
            self.check_base(lm)  # also that nothing was written to the model since
        with nullcontext() if already else self.applied(lm):
            export.write_model(lm, [handle.edit for handle in applied_edits(lm)], folder, force=force)


class Handle(Guard["Handle"]):
    """An edit that is applied to a model. As a context manager it removes the edit on any exit.

    Attributes:
        edit: the edit.
        lm: the model.
    """

    def __init__(self, edit: Edit, lm: LanguageModel, overlay: Overlay) -> None:
        self.edit, self.lm = edit, lm
        self._overlay = overlay

    def __repr__(self) -> str:
        return f"Handle({self.edit!r} on {self.lm.name}, {'applied' if self.active else 'removed'})"

    @property
    def active(self) -> bool:
        """Whether the edit is applied still."""
        return self._overlay in overlays_on(self.lm.model)

    def remove(self, *, wait: float = 60.0) -> None:
        """Remove the edit, whatever was applied after it, and by whichever thread.

        The weights are then, to the last bit, those of never having applied it. An edit that was computed on
        top of this one stays, though the weights are no longer those it was computed for. After any error or
        interrupt, it is either removed or as it was.

        Args:
            wait: how many seconds to wait for another thread that is inside a ``with edit.applied(lm)``.

        Raises:
            InputError: it was removed already, another thread held the model all that time, or the model was
                moved, converted or written to since.
            NumericalError: without this edit a weight would overflow: remove the others first.
        """
        if not take_off(self.lm, self._overlay, wait=wait):
            raise InputError(
                f"the edit {self.edit.digest:.12} is not applied to {self.lm.name}: it was removed already"
            )

    def begin(self) -> Handle:
        """The handle: the edit is applied already."""
        return self

    def undo(self) -> None:
        """Remove the edit unless it is removed."""
        take_off(self.lm, self._overlay)


class _Applied(Guard[LanguageModel]):
    def __init__(self, edit: Edit, lm: LanguageModel, check: Check, wait: float) -> None:
        self.edit, self.lm, self.check = edit, lm, check
        self._held = Held(lm.model, _what(edit), wait=wait)
        self._overlay: Overlay | None = None

    def begin(self) -> LanguageModel:
        if self._overlay is not None:
            raise InputError("this applied() is inside its with already: call edit.applied(lm) anew")
        self._overlay = _overlay(self.edit, self.lm)
        self._held.begin()
        put_on(self.edit, self.lm, self._overlay, self.check)
        return self.lm

    def undo(self) -> None:
        if self._overlay is not None:
            try:
                take_off(self.lm, self._overlay, of=self._held.holder)
            except KnoweditError:  # the edit stays, so others may try
                self._held.undo()
                raise
        self._held.undo()
        self._overlay = None


def _overlay(edit: Edit, lm: LanguageModel) -> Overlay:
    """What the edit puts over a model; nothing is changed."""
    return Overlay(Updates(edit.updates).changes(lm), source=edit)


def _what(edit: Edit) -> str:
    return f"the edit {edit.digest:.12}"


def applied_edits(lm: LanguageModel) -> tuple[Handle, ...]:
    """The edits that are applied to a model, the first applied first."""
    return tuple(Handle(overlay.source, lm, overlay) for overlay in overlays_on(lm.model))
