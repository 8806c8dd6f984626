"""The `.npz` statistics of the released ROME code: a raw sum of k kᵀ and the number of keys."""

from __future__ import annotations

import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray

from knowedit.errors import FileFormatError, InputError, NumericalError
from knowedit.linalg._arrays import EPSILON
from knowedit.writing import PathLike

SUM: Final = "mom2.mom2"
COUNT: Final = "mom2.count"
# What the readers of zip and npy raise on damaged files.
_DAMAGE: Final = (
    ValueError,
    OSError,
    EOFError,
    KeyError,
    RuntimeError,
    SyntaxError,
    MemoryError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)
_WRITER: Final = "expected the statistics of the released ROME code (mom2.mom2, a square sum, and mom2.count)"


def read_npz(path: PathLike) -> tuple[NDArray[Any], int]:
    """The sum of k kᵀ, in its own dtype, and the number of keys; nothing is ever unpickled.

    Raises:
        InputError: there is no such file.
        FileFormatError: it is no whole `.npz` file, holds a pickle, lacks an entry, or an entry has another
            shape or dtype.
        NumericalError: the sum holds NaN or infinity.
    """
    source = Path(path)
    if not source.is_file():
        raise InputError(f"there is no file {source}; expected an .npz file of statistics; check the path")
    raw_sum, count = _entries(source)
    if raw_sum.ndim != 2 or raw_sum.shape[0] != raw_sum.shape[1] or not raw_sum.size:
        raise _refusal(source, f"holds {SUM} of shape {raw_sum.shape}")
    if raw_sum.dtype.name not in EPSILON:
        raise _refusal(source, f"holds {SUM} of dtype {raw_sum.dtype.name}")
    if count.shape != () or count.dtype.kind not in "iu" or count < 1:
        raise _refusal(source, f"holds {COUNT} = {count!s} of shape {count.shape} and dtype {count.dtype}")
    if not np.isfinite(raw_sum).all():
        raise NumericalError(
            f"{SUM} in {source} holds NaN or infinity; expected finite sums; compute the statistics again"
        )
    return raw_sum, int(count)


def _entries(source: Path) -> tuple[NDArray[Any], NDArray[Any]]:
    try:
        # Opened here, since numpy leaves a file that it opened itself open when it cannot read it.
        with source.open("rb") as stream:
            return _read(source, np.load(stream, allow_pickle=False))
    except FileFormatError:
        raise
    except _DAMAGE as error:
        words = " ".join(str(error).split())
        raise _refusal(source, f"cannot be read as a whole .npz file without pickles ({words})") from None


def _read(source: Path, content: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    if not isinstance(content, NpzFile):
        raise _refusal(source, "holds one bare array")
    with content:
        missing = [name for name in (SUM, COUNT) if name not in content]
        if missing:
            raise _refusal(source, f"lacks {' and '.join(missing)}; it has {sorted(content)}")
        return content[SUM], content[COUNT]


def _refusal(source: Path, found: str) -> FileFormatError:
    return FileFormatError(f"{source} {found}; {_WRITER}; download or compute it again")
