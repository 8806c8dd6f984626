"""What the folders of resumable runs share: a manifest that says which run it is, and lines that are only appended."""

from knowedit.resumable.journal import Journal
from knowedit.resumable.manifest import MANIFEST, differences, manifest_bytes, read_manifest, require_same
from knowedit.resumable.sealed_lines import (
    Lines,
    append_line,
    canonical,
    damaged_line,
    read_lines,
    sealed,
    try_lock,
    unsealed,
)

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
