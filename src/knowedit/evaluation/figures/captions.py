"""What several figures write."""

from __future__ import annotations

from collections.abc import Iterable


def record_counts(counts: Iterable[int]) -> str:
    """``50 records``, or ``48 to 50 records`` where some failed."""
    found = sorted(set(counts))
    return f"{found[0]:,} records" if len(found) == 1 else f"{found[0]:,} to {found[-1]:,} records"
