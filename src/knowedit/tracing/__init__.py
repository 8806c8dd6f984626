"""Find where a model keeps a fact: corruption, restoration, windows, severing, and the trace as a file."""

from knowedit.tracing.averages import AverageTrace, average, average_summaries
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
from knowedit.tracing.known import KnownFact, load_known_facts, save_known_facts
from knowedit.tracing.plan import TracePlan
from knowedit.tracing.reading import Reading, UnpredictedAnswer, read
from knowedit.tracing.recall import recall_facts
from knowedit.tracing.roles import Role, token_roles
from knowedit.tracing.setting import TraceSetting
from knowedit.tracing.summary import FactSummary, summarise
from knowedit.tracing.trace import Part, Severed, Trace, TraceProvenance
from knowedit.tracing.trace_run import TraceProgress, TraceResult, TraceRun
from knowedit.tracing.windows import Window

__all__ = [
    "AverageTrace",
    "Corrupted",
    "Corruption",
    "FactSummary",
    "FixedNoise",
    "GaussianNoise",
    "KnownFact",
    "Part",
    "Reading",
    "RelativeNoise",
    "Role",
    "Severed",
    "Substitution",
    "Trace",
    "TracePlan",
    "TraceProgress",
    "TraceProvenance",
    "TraceResult",
    "TraceRun",
    "TraceSetting",
    "UnpredictedAnswer",
    "Window",
    "average",
    "average_summaries",
    "causal_trace",
    "embedding_std",
    "load_known_facts",
    "read",
    "recall_facts",
    "save_known_facts",
    "summarise",
    "token_roles",
]
