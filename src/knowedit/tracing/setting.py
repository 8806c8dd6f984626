"""What the traces of an average have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from knowedit.tracing.trace import Part, Severed, Trace
from knowedit.tracing.windows import Window


@dataclass(frozen=True)
class TraceSetting:
    """What the traces of an average have in common.

    Attributes:
        model: the model's name.
        digest: of the `Fingerprint` of its weights.
        part: what is restored.
        window: the layers that are restored together.
        sever: the part that is held at its corrupted values, or None.
        corruption: its settings. The subject that is substituted is left out, as each fact may have its own.
        draws: corruptions for each fact.
        n_layers: the model's layers.
    """

    model: str
    digest: str
    part: Part
    window: Window
    sever: Severed | None
    corruption: dict[str, Any]
    draws: int
    n_layers: int

    @classmethod
    def of(cls, trace: Trace) -> TraceSetting:
        """That of one trace."""
        made = trace.provenance
        return cls(
            model=made.model,
            digest=made.digest,
            part=trace.part,
            window=trace.window,
            sever=trace.sever,
            corruption=shared_settings(made.corruption),
            draws=trace.draws,
            n_layers=trace.n_layers,
        )


def shared_settings(corruption: dict[str, Any]) -> dict[str, Any]:
    """A corruption's settings without what may differ from fact to fact."""
    return {name: value for name, value in corruption.items() if name != "subject"}
