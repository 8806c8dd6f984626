"""Runs that can be stopped and resumed, and the worker pool that does their work."""

from knowedit.runs.folder import RunFolder, read_folder
from knowedit.runs.held import HeldFolder
from knowedit.runs.job import Job, Station, WorkerDied, Workers
from knowedit.runs.lines import canonical, sealed
from knowedit.runs.manifest import MANIFEST, differences
from knowedit.runs.pool import Pool, open_pool

__all__ = [
    "MANIFEST",
    "HeldFolder",
    "Job",
    "Pool",
    "RunFolder",
    "Station",
    "WorkerDied",
    "Workers",
    "canonical",
    "differences",
    "open_pool",
    "read_folder",
    "sealed",
]
