"""All claims, in the paper's order."""

from __future__ import annotations

from typing import Any

from claims import algebra, data, knowing, layers, rome, sweeps, table2, tracing
from claims.registry import Section

SECTIONS: tuple[Section[Any], ...] = (
    algebra.SECTION,
    tracing.SECTION,
    data.SECTION,
    layers.SECTION,
    rome.SECTION,
    table2.SECTION,
    knowing.SECTION,
    sweeps.SECTION,
)
