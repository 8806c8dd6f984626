"""Figures as files: the same figure gives the same bytes."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from knowedit.errors import InputError
from knowedit.figures import style
from knowedit.writing import PathLike, write_bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

METADATA: dict[str, dict[str, None]] = {
    ".png": {"Software": None},
    ".svg": {"Date": None},
    ".pdf": {"CreationDate": None},
}
"""What would differ between two runs or two versions, left out."""

SUFFIXES = tuple(METADATA)


def check_suffix(path: PathLike) -> str:
    """The suffix of a picture, in small letters.

    Raises:
        InputError: one that no figure is written as.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in METADATA:
        raise InputError(
            f"{path} ends with {suffix!r}, expected one of {', '.join(SUFFIXES)}: change its name"
        )
    return suffix


def save(figure: Figure, path: PathLike, *, force: bool = False) -> None:
    """Write a figure as PNG, SVG or PDF, by the suffix, atomically.

    Args:
        figure: the figure.
        path: the file; its folder must exist.
        force: replace a file that is there.

    Raises:
        InputError: another suffix, no such folder, a full disk, or a file that is there.
    """
    suffix = check_suffix(path)
    stream = BytesIO()
    with style.drawing(figure):
        figure.savefig(stream, format=suffix[1:], metadata=METADATA[suffix])
    write_bytes(path, stream.getvalue(), force=force)
