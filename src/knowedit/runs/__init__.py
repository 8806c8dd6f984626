"""Runs that can be stopped and resumed, and the worker pool that does their work."""

from knowedit.runs.folder import RunFolder, read_folder
from knowedit.runs.journal import (
    Journal,
    Lines,
    append_line,
    damaged_line,
    manifest_bytes,
    read_lines,
    read_manifest,
    require_same,
    try_lock,
    unsealed,
)
from knowedit.runs.lines import canonical, sealed
from knowedit.runs.manifest import MANIFEST, differences
from knowedit.runs.pool import Job, Pool, Station, WorkerDied, Workers, open_pool

__all__ = [
    "MANIFEST",
    "Job",
    "Journal",
    "Lines",
    "Pool",
    "RunFolder",
    "Station",
    "WorkerDied",
    "Workers",
    "append_line",
    "canonical",
    "damaged_line",
    "differences",
    "manifest_bytes",
    "open_pool",
    "read_folder",
    "read_lines",
    "read_manifest",
    "require_same",
    "sealed",
    "try_lock",
    "unsealed",
]
