"""What the folders of resumable runs share: a manifest that says which run it is, and lines that are only appended."""

from knowedit.runs.journal import Journal
from knowedit.runs.lines import (
    Lines,
    append_line,
    canonical,
    damaged_line,
    read_lines,
    sealed,
    try_lock,
    unsealed,
)
from knowedit.runs.manifest import MANIFEST, differences, manifest_bytes, read_manifest, require_same

__all__ = [
    "MANIFEST",
    "Journal",
    "Lines",
    "append_line",
    "canonical",
    "damaged_line",
    "differences",
    "manifest_bytes",
    "read_lines",
    "read_manifest",
    "require_same",
    "sealed",
    "try_lock",
    "unsealed",
]
