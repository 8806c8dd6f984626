"""Find where a model keeps a fact: corruption, restoration, windows, severing, and the trace as a file."""

from knowedit.tracing.causal import causal_trace
from knowedit.tracing.corruption import (
    Corrupted,
    Corruption,
    FixedNoise,
    GaussianNoise,
    RelativeNoise,
    Substitution,
    embedding_std,
)
from knowedit.tracing.reading import Reading, UnpredictedAnswer, read
from knowedit.tracing.roles import Role, token_roles
from knowedit.tracing.trace import Part, Severed, Trace, TraceProvenance
from knowedit.tracing.windows import Window

__all__ = [
    "Corrupted",
    "Corruption",
    "FixedNoise",
    "GaussianNoise",
    "Part",
    "Reading",
    "RelativeNoise",
    "Role",
    "Severed",
    "Substitution",
    "Trace",
    "TraceProvenance",
    "UnpredictedAnswer",
    "Window",
    "causal_trace",
    "embedding_std",
    "read",
    "token_roles",
]
