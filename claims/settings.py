"""What the caller of a run chose."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Settings:
    """One value for everything that changes what is measured; the defaults are those of the record.

    Attributes:
        facts: records per model; sections that are slower take fewer of them, unless ``full``.
        seed: draws the records, the prefixes and the resamples.
        device: where models are put.
        records: a file of records for models that have none in their folder.
        statistics: a file of key statistics for models that have none in their folder.
        full: whether sections that take a sample by default take all facts.
        evidence: the folder of run folders, by model and method; None for ``claims/evidence``.
        noise: of causal tracing, in standard deviations of the subject's embeddings.
    """

    facts: int = 300
    seed: int = 0
    device: str = "cpu"
    records: Path | None = None
    statistics: Path | None = None
    full: bool = False
    noise: float = 3.0
    evidence: Path | None = None

    def changed(self) -> list[str]:
        """The settings that differ from the defaults, for instance ``facts=5``."""
        defaults = asdict(Settings())
        return [f"{name}={value}" for name, value in asdict(self).items() if value != defaults[name]]

    def as_json(self) -> dict[str, Any]:
        """All of them, paths as text."""
        return {
            name: str(value) if isinstance(value, Path) else value for name, value in asdict(self).items()
        }
