"""The editors that have a name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass, replace
from functools import partial
from typing import Any, Final

from knowedit.editing.editor import Editor
from knowedit.editing.fine_tuning.fine_tuning import FineTuning
from knowedit.editing.rome.profiles import NUMBERS
from knowedit.editing.rome.rome import ROME
from knowedit.errors import InputError

EDITORS: Final[dict[str, Callable[[], Editor]]] = {
    "rome": ROME.paper,
    "ft": FineTuning.ft,
    "ft+l": FineTuning.ft_l,
    "attn-edit": FineTuning.attn_edit,
}
"""Every editor by name, with the settings of the paper. A new one is a line here."""

PROFILES: Final[Mapping[str, Mapping[str, Callable[[], Editor]]]] = {
    "rome": {name: partial(ROME, **numbers) for name, numbers in NUMBERS.items()},
}
"""Named settings of the editors that have several."""


def make_editor(name: str, *, profile: str | None = None, **options: Any) -> Editor:
    """The editor of that name.

    Args:
        name: a key of `EDITORS`.
        profile: the name of its settings, a key of ``PROFILES[name]``; by default the paper's.
        options: fields of the editor, in place of those of the profile.

    Raises:
        InputError: no such editor or profile, or an option that is no field of the editor.
    """
    if name not in EDITORS:
        raise InputError(f"there is no editor {name!r}: use one of {', '.join(EDITORS)}")
    editor = EDITORS[name]() if profile is None else _profile(name, profile)
    known = [field.name for field in fields(editor)] if is_dataclass(editor) else []
    if unknown := [option for option in options if option not in known]:
        raise InputError(f"{unknown[0]!r} is no option of {name}, which has {', '.join(known) or 'none'}")
    return replace(editor, **options) if options else editor


def _profile(name: str, profile: str) -> Editor:
    if name not in PROFILES:
        raise InputError(f"{name} has no profiles, {profile!r} was given: leave it out")
    if profile not in PROFILES[name]:
        raise InputError(f"there is no profile {profile!r} of {name}: use one of {', '.join(PROFILES[name])}")
    return PROFILES[name][profile]()
