"""Where an edit comes from, and how sound it is: editor, settings, facts, and diagnostics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar, Final

from knowedit.errors import InputError
from knowedit.facts import Fact
from knowedit.models import LanguageModel
from knowedit.reading import checked

COMBINED: Final = "Edit.combined"
"""The editor that is named where an edit was made from others."""


_SUMMED: Final = ("relative_change", "change_on_text")
"""Figures that are norms of the update: of a sum, at most the sum of the norms."""
_SMALL_IS_BAD: Final = ("divisor", "probability", "alignment", "prompt_key_cosine")
_CLOSE: Final = 0.8
"""Above this cosine of the two keys the layer known for a bundled model has nearly all its edits, and they take."""
_LATER: Final = ("prompt_key_cosine",)
"""Figures that the first files do not have: left out where they are None, so that an edit keeps its digest."""


@dataclass(frozen=True)
class Diagnostics:
    """Figures that tell before an edit is used whether it is sound; None where an editor has no such figure.

    Attributes:
        residual: ‖Ŵk* − (v* − b)‖ / ‖v* − b‖ with Ŵ rounded to the model's number format.
        divisor: k*ᵀC⁻¹k*; small values make large updates.
        relative_change: ‖ΔW‖ / ‖W‖, Frobenius. It can be large and harmless: most of ΔW may lie along
            directions that keys of text hardly have.
        change_on_text: ‖ΔW K‖ / ‖W K‖ over the text the key statistics were gathered on, which is what the
            insertion keeps small.
        condition: estimated condition number of C with its diagonal scaled to ones.
        probability: P[o* | p] at the end of the search: for ROME with v* in place of the MLP's output, before
            anything was inserted; for fine-tuning with the new weights, the mean over the facts.
        steps: gradient steps that the search took.
        alignment: the cosine, in the metric of C⁻¹, of k* and the key that the value was inserted at: 1 where
            they are one key. The divisor is as small as the alignment, and the update as large as it is small.
        prompt_key_cosine: the plain cosine of k* and the prompt's own key, that at the subject's last token with
            nothing before the prompt. The edited weights return v* for k*, and the less of it for the prompt the
            further its key is from k*.
        compression: what was lost where an update was cut to a lower rank: the address as text, and
            ‖difference‖ / ‖update‖, Frobenius. The other figures are of the edit before that.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}  # an entry that is not known would be lost

    residual: float | None = None
    divisor: float | None = None
    relative_change: float | None = None
    change_on_text: float | None = None
    condition: float | None = None
    probability: float | None = None
    steps: int | None = None
    alignment: float = 1.0
    compression: dict[str, float] = field(default_factory=dict)
    prompt_key_cosine: float | None = None

    def as_json(self) -> dict[str, Any]:
        """The figures as files have them."""
        return {
            name: value for name, value in asdict(self).items() if value is not None or name not in _LATER
        }

    def warnings(self) -> list[str]:
        """What a careful person would look into before using the edit; empty if nothing."""
        lost = max(self.compression.values(), default=0.0)
        residual, on_text = self.residual or 0.0, self.change_on_text or 0.0
        condition, probability = self.condition or 0.0, 1.0 if self.probability is None else self.probability
        checks = [
            (residual > 0.02, f"the weights miss the inserted value by {residual:.1%}"),
            (on_text > 1, f"on ordinary text the update adds {on_text:.1f} × the old output"),
            (condition > 1e11, f"the key statistics have condition number {condition:.1e}"),
            (
                probability < 0.5,
                f"the new object was given a probability of only {probability:.1%}",
            ),
            (
                self.alignment < 0.2,
                f"the two keys of the insertion have a cosine of only {self.alignment:.2f}",
            ),
            (lost > 0.01, f"compression lost {lost:.1%} of an update (Frobenius)"),
        ]
        return [text for failed, text in checks if failed]

    def advice(self) -> str:
        """What to try where the edited model does not predict the new object."""
        if self.prompt_key_cosine is None:
            return "to make it take, try another layer, more steps, or a larger bound where there is one"
        advice = "to make it take, try another layer or profile, or key statistics of more text"
        if self.prompt_key_cosine > _CLOSE:
            return advice
        return (
            f"{advice}; k* and the prompt's own key have a cosine of only {self.prompt_key_cosine:.2f}, which the "
            "profiles that read k* with the prompt raise (consistent-keys); both-keys inserts the value at both"
        )

    @classmethod
    def worst(cls, parts: Sequence[Diagnostics]) -> Diagnostics:
        """Those of several edits as one: the worst of each figure, and of the two relative changes the sum."""
        own = [one.name for one in fields(cls) if one.name != "compression"]
        figures = {name: _worst(name, [getattr(part, name) for part in parts]) for name in own}
        keys = sorted({key for part in parts for key in part.compression})
        lost = {key: max(part.compression.get(key, 0.0) for part in parts) for key in keys}
        return cls(**figures, compression=lost)


@dataclass(frozen=True)
class Provenance:
    """Where an edit comes from; all of it JSON.

    Attributes:
        editor: the editor's class name.
        settings: its fields.
        facts: the facts it was asked to insert.
        model: the model's name.
        seed: of the generator, or None if nothing was drawn.
        prefixes: the texts behind which the subject was read.
        versions: of the packages that computed it.
        on_top_of: the digests of the edits that were applied when it was computed, in their order: the update
            fits the weights with those changes.
        compressed_from: the digest of the edit of which this one is the compressed form, or None.
        source: what opens the model, where its name does not: an absolute path. Not known of edits of version 0.1.0.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}  # an entry that is not known would be lost

    editor: str
    settings: dict[str, Any]
    facts: tuple[Fact, ...]
    model: str
    seed: int | None
    prefixes: tuple[str, ...]
    versions: dict[str, str]
    on_top_of: tuple[str, ...] = ()
    compressed_from: str | None = None
    source: str | None = None

    @property
    def base(self) -> str:
        """What opens the model that it was made with."""
        return self.source or self.model

    def as_json(self) -> dict[str, Any]:
        """As files have it; those of models that are known by name say no source, as ever."""
        return {name: value for name, value in asdict(self).items() if name != "source" or value is not None}

    @classmethod
    def of(
        cls,
        editor: Any,
        lm: LanguageModel,
        facts: Sequence[Fact],
        *,
        seed: int | None = None,
        prefixes: Sequence[str] = (),
    ) -> Provenance:
        """That of an edit which an editor computes now.

        Args:
            editor: any editor, prepared.
            lm: the model it edits.
            facts: what it was asked to insert.
            seed: of the generator, if anything was drawn.
            prefixes: the texts behind which the subject was read.
        """
        settings = settings_of(editor)
        return cls(
            editor=settings.pop("editor"),
            settings=settings,
            facts=tuple(facts),
            model=lm.name,
            source=lm.source,
            seed=seed,
            prefixes=tuple(prefixes),
            versions={name: version(name) for name in ("knowedit", "torch", "transformers")},
        )

    def __post_init__(self) -> None:
        if self.editor == COMBINED:
            advice = "combine the edits again"
            checked(tuple[_Part, ...], self.settings.get("parts"), "the settings of a combined edit", advice)

    @property
    def parts(self) -> tuple[str, ...]:
        """The digests of the edits that this one was combined from; empty for an edit of its own."""
        combined = self.settings.get("parts", []) if self.editor == COMBINED else []
        return tuple(
            str(digest)
            for part in combined
            for digest in (part["digest"], part.get("compressed_from"))
            if digest
        )


@dataclass(frozen=True)
class _Part:
    """What a combined edit knows of each of its parts, among other things."""

    digest: str
    compressed_from: str | None = None


def _worst(name: str, given: Sequence[float | None]) -> Any:
    values = [value for value in given if value is not None]
    if not values or (name in _SUMMED and len(values) < len(given)):
        return None  # a bound for some of the edits is none for all of them
    if name in _SUMMED:
        return sum(values)
    return min(values) if name in _SMALL_IS_BAD else max(values)


def settings_of(editor: Any) -> dict[str, Any]:
    """Everything that an editor's edits depend on besides the model, the facts and what is drawn; as JSON.

    Args:
        editor: any object with ``edit``. Its ``settings`` are taken; one without them gives its fields if it is a
            dataclass, else nothing.

    Returns:
        The settings, and the name of the class under ``editor``.

    Raises:
        InputError: a field that JSON cannot hold.
    """
    own = editor.settings if hasattr(editor, "settings") else fields_as_json(editor)
    return {**own, "editor": type(editor).__name__}


def fields_as_json(editor: Any) -> dict[str, Any]:
    """The fields of a dataclass, tuples as lists and paths as text; of any other object nothing.

    Raises:
        InputError: a field that JSON cannot hold.
    """
    if not is_dataclass(editor):
        return {}
    return {
        field.name: _as_json(getattr(editor, field.name), f"{type(editor).__name__}.{field.name}")
        for field in fields(editor)
    }


def _as_json(value: Any, name: str) -> Any:
    match value:
        case None | bool() | int() | float() | str():
            return value
        case Path():
            return str(value)
        case list() | tuple():
            return [_as_json(part, name) for part in value]
        case Mapping():
            return {str(key): _as_json(part, name) for key, part in value.items()}
    if is_dataclass(value):
        return fields_as_json(value)
    raise InputError(
        f"{name} is a {type(value).__name__}, which JSON cannot hold: give the editor a property settings that says "
        "what its edits depend on"
    )
