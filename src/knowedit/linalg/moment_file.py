"""The file of a second moment: one tensor, the number of keys, and free text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from knowedit.errors import FileFormatError
from knowedit.linalg._arrays import Host
from knowedit.tensorfile import Kind, PathLike, read_tensors, write_tensors

KIND: Final = Kind("second_moment", "1", "second moment", "SecondMoment.save")
TENSOR: Final = "raw_sum"
COUNT: Final = "count"
RESOLUTION: Final = "resolution"


@dataclass(frozen=True, eq=False)
class MomentRecord:
    """What the file holds: the sum of k kᵀ, the number of keys, the entries' rounding, and free text."""

    raw_sum: Host
    count: int
    resolution: float
    metadata: Mapping[str, str]


def write_moment(path: PathLike, record: MomentRecord) -> None:
    """Write atomically, the same bytes for the same content; errors as `write_tensors`."""
    own = {COUNT: str(record.count), RESOLUTION: record.resolution.hex()}
    write_tensors(path, KIND, {TENSOR: record.raw_sum}, record.metadata, own=own)


def read_moment(path: PathLike) -> MomentRecord:
    """Read and verify a file; errors as `read_tensors`."""
    content = read_tensors(path, KIND)
    if list(content.tensors) != [TENSOR] or not {COUNT, RESOLUTION} <= content.own.keys():
        raise FileFormatError(
            f"{path} is marked as a second moment but does not hold one; expected a file that "
            f"{KIND.writer} wrote; compute it again"
        )
    count, resolution = int(content.own[COUNT]), float.fromhex(content.own[RESOLUTION])
    return MomentRecord(content.tensors[TENSOR], count, resolution, content.metadata)
