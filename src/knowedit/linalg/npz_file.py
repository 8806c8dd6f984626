"""The `.npz` statistics of the released ROME code: a raw sum of k kᵀ and the number of keys."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray

from knowedit.errors import FileFormatError, InputError, NumericalError
from knowedit.linalg._arrays import EPSILON
from knowedit.reading import shown
from knowedit.writing import PathLike

SUM: Final = "mom2.mom2"
COUNT: Final = "mom2.count"
_WRITER: Final = "expected the statistics of the released ROME code (mom2.mom2, a square sum, and mom2.count)"
_ADVICE: Final = "download or compute it again"


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


def read_npy(path: PathLike, expected: str) -> NDArray[Any]:
    """The array of an `.npy` file, which is there; nothing is ever unpickled.

    Args:
        path: the file.
        expected: what the file should be, for messages.

    Raises:
        FileFormatError: it is no whole `.npy` file, or holds a pickle.
    """
    source = Path(path)
    found = _loaded(source, ".npy", expected, lambda content: content)
    if not isinstance(found, np.ndarray):
        raise FileFormatError(f"{source} holds several arrays; {expected}; {_ADVICE}")
    return found


def _entries(source: Path) -> tuple[NDArray[Any], NDArray[Any]]:
    found: tuple[NDArray[Any], NDArray[Any]] = _loaded(source, ".npz", _WRITER, partial(_read, source))
    return found


def _loaded(source: Path, kind: str, expected: str, use: Callable[[Any], Any]) -> Any:
    try:
        # Opened here, since numpy leaves a file that it opened itself open when it cannot read it.
        with source.open("rb") as stream:
            return use(np.load(stream, allow_pickle=False))
    except FileFormatError:
        raise
    except Exception as error:  # the readers of zip, npy and Python's literals raise whatever they meet
        raise FileFormatError(
            f"{source} cannot be read as a whole {kind} file without pickles ({shown(error)}); {expected}; {_ADVICE}"
        ) from None


def _read(source: Path, content: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    if not isinstance(content, NpzFile):
        raise _refusal(source, "holds one bare array")
    with content:
        missing = [name for name in (SUM, COUNT) if name not in content]
        if missing:
            raise _refusal(source, f"lacks {' and '.join(missing)}; it has {shown(sorted(content))}")
        found = content[SUM], content[COUNT]
        if not all(isinstance(array, np.ndarray) for array in found):
            raise _refusal(source, "holds what is no array")
        return found


def _refusal(source: Path, found: str) -> FileFormatError:
    return FileFormatError(f"{source} {found}; {_WRITER}; {_ADVICE}")
