"""All claims, in the paper's order."""

from __future__ import annotations

from typing import Any

from claims import algebra, data, rome, sweeps, table2, tracing
from claims.registry import Section

SECTIONS: tuple[Section[Any], ...] = (
    algebra.SECTION,
    tracing.SECTION,
    data.SECTION,
    sweeps.LAYERS,
    rome.SECTION,
    table2.SECTION,
    table2.SAYING_SECTION,
    sweeps.SECTION,
)
