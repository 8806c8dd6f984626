"""The table of forms. A new one is a file like its neighbours with a `FORM`, and a line here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from knowedit.errors import FileFormatError
from knowedit.evaluation.records.forms import counterfact, flat, knowedit, mquake, zsre
from knowedit.evaluation.records.forms.form import Form

FORMS: Final = (mquake.FORM, counterfact.FORM, zsre.FORM, flat.FORM, knowedit.FORM)
"""An entry is of the first form that fits."""


def record_fields(entry: object, number: int | None = None) -> dict[str, Any]:
    """The fields of a `Record`, from one entry in any of the forms.

    Args:
        entry: one JSON value.
        number: the case id where an entry has none or one that is no number, for instance the row.

    Raises:
        FileFormatError: the entry is in none of the forms.
        NoSingleEdit: it is in one of them, and asks for no single edit of a fact.
        InputError: a missing or wrong field, each named, or a request that is no fact.
    """
    form = next((one for one in FORMS if isinstance(entry, Mapping) and one.fits(entry)), None)
    if form is None or not isinstance(entry, Mapping):
        raise FileFormatError(_unknown(entry))
    return form.schema.checked(_numbered(entry, number, form)).fields()


def _numbered(entry: Mapping[str, Any], number: int | None, form: Form) -> dict[str, Any]:
    """The entry with a case id: a text of digits is its number."""
    found = dict(entry)
    case = found.get("case_id")
    if isinstance(case, str):
        digits = case.isascii() and case.isdecimal() and len(case) < DIGITS
        found["case_id"] = int(case) if digits else case if number is None else number
    elif case is None and form.numbered and number is not None:
        found["case_id"] = number
    return found


DIGITS: Final = 19
"""A case id has fewer; a longer text of digits is a name."""


def _unknown(entry: object) -> str:
    has = ""
    if isinstance(entry, Mapping):
        has = f" with {', '.join(map(str, list(entry)[:5])) or 'nothing'}"
    known = ", ".join(f"{one.name} ({one.known_by})" for one in FORMS)
    return f"holds a {type(entry).__name__}{has}: expected one of the forms {known}; no other is read"
