"""Text from files and models as it may be shown: nothing in it steers a terminal, a spreadsheet or a page.

What cannot be seen is written as an escape that can: ``\\x1b`` begins a command to a terminal, U+202E turns the order
of what follows, and neither belongs to what a name or a text says.
"""

from __future__ import annotations

import unicodedata
from typing import Final

HIDDEN: Final = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Categories of Unicode: control, format, halves of a pair, and ends of lines and paragraphs."""
JOINERS: Final = "\u200c\u200d"
"""Words of several scripts, and compound emoji, are written with these two of the category Cf."""
FORMULAS: Final = ("=", "+", "-", "@", "\t", "\r")
"""How a cell begins that a spreadsheet computes (OWASP, CSV Injection)."""
MARKDOWN: Final = str.maketrans({sign: f"\\{sign}" for sign in "\\`*_[]|~"} | {"<": "&lt;", "&": "&amp;"})


def visible(text: str, keep: str = "") -> str:
    """A text with escapes for what cannot be seen: control characters, bidirectional marks, lone surrogates.

    Args:
        text: as it is.
        keep: characters that stay, such as line breaks.
    """
    if text.isprintable():  # which nearly every text is
        return text
    return "".join(sign if sign in keep or not _hidden(sign) else _escape(sign) for sign in text)


def csv_cell(text: str) -> str:
    """A text as a cell of CSV, with an apostrophe before one that a spreadsheet would compute."""
    return f"'{visible(text)}" if text.startswith(FORMULAS) else visible(text)


def markdown_cell(text: str) -> str:
    """A text as a cell of a Markdown table, where it neither ends the cell nor begins a format or HTML."""
    return visible(text).translate(MARKDOWN)


def _hidden(sign: str) -> bool:
    return unicodedata.category(sign) in HIDDEN and sign not in JOINERS


def _escape(sign: str) -> str:
    return sign.encode("unicode_escape").decode()
