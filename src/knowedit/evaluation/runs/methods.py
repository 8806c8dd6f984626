"""What is done to a model before a record is scored: nothing, or an edit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import torch

from knowedit.editing.edit import Edit
from knowedit.editing.editor import prepared, settings_of
from knowedit.facts import Fact
from knowedit.models import LanguageModel

MakeEdit: TypeAlias = Callable[[Fact, torch.Generator], Edit | None]
"""Computes a fact's edit; the generator draws what the editor draws."""


@dataclass(frozen=True)
class Prepared:
    """A method that has met a model.

    Attributes:
        make: computes the edits.
        settings: everything that they depend on besides the model, the fact and the generator; as JSON.
    """

    make: MakeEdit
    settings: dict[str, Any]


class Method(Protocol):
    """What an evaluation compares; it can be pickled, and holds no model."""

    @property
    def label(self) -> str:
        """What a table calls it."""
        ...

    @property
    def sources(self) -> tuple[str, ...]:
        """The modules whose code the edits come from."""
        ...

    def prepare(self, lm: LanguageModel, /) -> Prepared:
        """Look up once what all edits of a model share.

        Raises:
            InputError: the model lacks something that the method needs.
        """
        ...


@dataclass(frozen=True)
class Unedited:
    """The model as it is: what every editor is compared with."""

    label: str = "none"
    sources: tuple[str, ...] = ()

    def prepare(self, _: LanguageModel) -> Prepared:
        """Nothing to prepare."""
        return Prepared(lambda *_: None, {})


@dataclass(frozen=True)
class Plain:
    """An editor that needs nothing but the model, such as fine-tuning.

    Attributes:
        editor: a frozen dataclass.
        label: what a table calls it.
    """

    editor: Any
    label: str

    @property
    def sources(self) -> tuple[str, ...]:
        """The editor's module."""
        return (type(self.editor).__module__,)

    def prepare(self, lm: LanguageModel) -> Prepared:
        """Fill in what depends on the model.

        Raises:
            InputError: no layer is known for the model, or it has no such layer.
        """
        editor = prepared(self.editor, lm)

        def make(fact: Fact, generator: torch.Generator) -> Edit:
            edit: Edit = editor.edit(lm, [fact], generator=generator)
            return edit

        return Prepared(make, settings_of(editor))
