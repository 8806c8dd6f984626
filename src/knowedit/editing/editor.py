"""The contract of editors, and the defaults of the parts that an editor of one's own leaves out.

`Editor` is the base class of those that come with the package. Any object with ``edit(lm, facts, *, generator)`` is
an editor too; `prepared`, `label_of`, `settings_of` and `version_of` give the defaults for what it does not have.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch

from knowedit.editing.edits.edit import Edit
from knowedit.editing.edits.provenance import fields_as_json
from knowedit.editing.edits.provenance import settings_of as settings_of
from knowedit.errors import InputError
from knowedit.facts import Fact
from knowedit.models import LanguageModel


@dataclass(frozen=True)
class Editor(ABC):
    """The base of editors: frozen dataclasses whose fields are their settings; they never change a model.

    Attributes:
        version: raised by hand when a change of the code may change a number.
    """

    version: ClassVar[int] = 1

    @property
    def label(self) -> str:
        """What a table calls it; by default the class name."""
        return type(self).__name__

    def prepared(self, lm: LanguageModel) -> Self:
        """The same editor with everything filled in that depends on the model; by default as it is.

        What is filled in is of the model's own weights, so prepare before edits are applied. `edit` does it where it
        was not done.
        """
        del lm
        return self

    @abstractmethod
    def edit(
        self,
        lm: LanguageModel,
        facts: Sequence[Fact],
        *,
        generator: torch.Generator | None = None,
        seed: int | None = None,
    ) -> Edit:
        """Compute the edit of one or more facts; the model is not changed.

        Args:
            lm: the model to edit.
            facts: what shall be true.
            generator: draws what the editor draws.
            seed: of a new generator, in place of ``generator``.
        """
        ...

    @property
    def settings(self) -> dict[str, Any]:
        """The fields as JSON."""
        return fields_as_json(self)

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Self:
        """The editor that has these settings, as an edit's provenance or the manifest of a run holds them.

        Raises:
            InputError: fields that this version does not have.
        """
        own = {name: _as_tuples(value) for name, value in settings.items() if name != "editor"}
        try:
            return cls(**own)
        except TypeError as error:
            raise InputError(
                f"these settings are not those of {cls.__name__} ({error}): use the version of knowedit that wrote them"
            ) from None


def prepared(editor: Any, lm: LanguageModel) -> Any:
    """An editor with everything filled in that depends on the model; one that cannot be prepared as it is."""
    return editor.prepared(lm) if hasattr(editor, "prepared") else editor


def label_of(editor: Any) -> str:
    """What a table calls an editor; by default the class name."""
    return str(getattr(editor, "label", type(editor).__name__))


def version_of(editor: Any) -> int:
    """The version of an editor, 1 if it has none."""
    return int(getattr(editor, "version", 1))


def _as_tuples(value: Any) -> Any:
    return tuple(_as_tuples(part) for part in value) if isinstance(value, list | tuple) else value
