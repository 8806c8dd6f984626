"""Names that come out of files, before they become paths."""

from __future__ import annotations

import os
from typing import Any, Final

from knowedit.errors import FileFormatError

LONGEST: Final = 255
"""Bytes of a name, on nearly all file systems."""


def plain_name(name: Any, what: str) -> str:
    """A name that stands in a file, before it is joined to a folder.

    Args:
        name: what stands there.
        what: which entry of which file it is, for the message.

    Raises:
        FileFormatError: it is no plain name of a file: no text, empty, with a folder or a drive, or with control
            characters.
    """
    text = name if isinstance(name, str) and name.isprintable() else ""
    if text not in ("", ".", "..") and not set(text) & set("/\\:") and len(os.fsencode(text)) <= LONGEST:
        return text
    raise FileFormatError(
        f"{what} is {str(name)[:80]!r}: expected the plain name of a file in the same folder; correct the entry"
    )
